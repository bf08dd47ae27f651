//! A tiny host in memory for tests: its journal is text, its clock a counter, and it answers every command at once. It proves nothing by itself.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use serde_json::value::RawValue;

use crate::event::{Outcome, Wait};
use crate::{
    Completion, Error, ErrorKind, Fault, Json, Machine, Open, OpenWhat, Resources, Result, Seed, StepAsked, WorkflowFn,
};

/// A host in memory: its journal is text, its clock a counter, its order of completions a choice.
pub(crate) struct Sim {
    pub(crate) workflow: WorkflowFn,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<String>,
    pub(crate) clock: i64,
    pub(crate) signals: VecDeque<(String, Json)>,
    pub(crate) cancel_at: Option<usize>,
    pub(crate) last_first: bool,
    pub(crate) ran: Vec<String>,
}

pub(crate) fn raw(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn machine(workflow: &WorkflowFn) -> Machine {
    Machine::new("run", workflow.clone(), Resources::default(), Arc::new(|| {}))
}

impl Sim {
    pub(crate) fn new(workflow: WorkflowFn, input: &str) -> Result<Self, Fault> {
        let mut sim = Self {
            machine: machine(&workflow),
            workflow,
            rows: Vec::new(),
            clock: 1_000,
            signals: VecDeque::new(),
            cancel_at: None,
            last_first: false,
            ran: Vec::new(),
        };
        sim.machine.start("w", Seed { nonce: [3; 16], generation: 0 }, raw(input), sim.clock)?;
        sim.commit();
        Ok(sim)
    }

    pub(crate) fn commit(&mut self) {
        if let Some(row) = self.machine.take_row() {
            self.rows.push(serde_json::to_string(&row).unwrap());
        }
    }

    pub(crate) fn crash(&mut self) -> Result<(), Fault> {
        self.machine = machine(&self.workflow);
        for row in &self.rows {
            self.machine.replay(serde_json::from_str(row).unwrap())?;
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<Completion> {
        if self.cancel_at == Some(self.rows.len()) {
            self.cancel_at = None;
            return Some(Completion::Cancel);
        }
        if let Some((name, _)) = self.signals.front()
            && self.machine.waits_for(Wait::Signal, name)
        {
            let (name, value) = self.signals.pop_front()?;
            return Some(Completion::Signal { wait: Wait::Signal, name, value });
        }
        let open = self.machine.open();
        let mut steps = open.iter().filter(|o| matches!(o.what, OpenWhat::Step(_)));
        let step = if self.last_first { steps.next_back() } else { steps.next() };
        if let Some(Open { id, what: OpenWhat::Step(step) }) = step {
            self.ran.push(id.to_string());
            let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();
            let out = pollster(attempt(step, key));
            return Some(match out {
                Ok(out) => Completion::Done { id: id.clone(), out },
                Err(error) => Completion::Failed { id: id.clone(), error },
            });
        }
        let due = open.iter().filter_map(|o| match &o.what {
            OpenWhat::Timer { due } | OpenWhat::Signal { due: Some(due), .. } => Some((*due, o)),
            _ => None,
        });
        let (due, first) = due.min_by_key(|(due, _)| *due)?;
        self.clock = self.clock.max(due);
        Some(match first.what {
            OpenWhat::Timer { .. } => Completion::Fired { id: first.id.clone() },
            _ => Completion::Failed { id: first.id.clone(), error: Error::new(ErrorKind::TimedOut, "too late") },
        })
    }

    /// Runs to the end, crashing before every completion if asked.
    pub(crate) fn run(mut self, crash: bool) -> Result<Self, Fault> {
        while self.machine.outcome().is_none() {
            if crash {
                self.crash()?;
            }
            self.clock += 7;
            let Some(completion) = self.next() else { panic!("stuck: {:#?}", self.rows) };
            assert!(self.machine.deliver(completion, self.clock)?);
            self.commit();
        }
        Ok(self)
    }

    pub(crate) fn outcome(&self) -> String {
        match self.machine.outcome().unwrap() {
            Outcome::Completed(crate::Payload::Inline(value)) => value.get().to_owned(),
            other => format!("{other:?}"),
        }
    }
}

pub(crate) fn attempt(step: &StepAsked, key: Arc<str>) -> crate::AttemptFuture {
    crate::AttemptFuture::start(|| (step.run)(), crate::Attempt::new(key, 1))
}

pub(crate) fn pollster<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut cx = std::task::Context::from_waker(Waker::noop());
    loop {
        if let std::task::Poll::Ready(out) = future.as_mut().poll(&mut cx) {
            return out;
        }
    }
}

/// The same journal and result, whether it crashed before every completion or not.
pub(crate) fn survives(make: impl Fn() -> Sim) -> Sim {
    let whole = make().run(false).unwrap();
    let crashed = make().run(true).unwrap();
    assert_eq!(whole.rows, crashed.rows);
    assert_eq!(whole.outcome(), crashed.outcome());
    assert_eq!(whole.ran, crashed.ran, "a completed step ran again");
    whole
}

pub(crate) async fn double(n: u32) -> Result<u32> {
    Ok(n * 2)
}

/// The fault that a workflow ends in.
pub(crate) fn fault_of(flow: WorkflowFn) -> Fault {
    match Sim::new(flow, "null") {
        Err(fault) => fault,
        Ok(sim) => match sim.run(false) {
            Err(fault) => fault,
            Ok(sim) => panic!("no fault: {}", sim.outcome()),
        },
    }
}
