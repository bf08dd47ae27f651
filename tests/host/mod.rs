//! Tests of the SQLite host through its public API.

mod admissions;
mod basics;
mod boundaries;
mod chain;
mod commits;
mod doubt;
mod ends;
mod faults;
mod generations;
mod limits;
mod lines;
mod own_tools;
mod owners;
mod patterns;
mod pauses;
mod queues;
mod rig;
mod schedules;
mod vectors;
mod waits;
