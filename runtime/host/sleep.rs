//! Runs that only wait: out of memory after a moment, and back when a message or their time comes. It never decides what a run waits for.

use std::cmp::Reverse;

use super::load::{Wanted, Why};
use super::shard::{Early, Shard, Timed};
use crate::store::{RunKey, Tx, release};

/// A run that waits at least this long is let out of memory.
const EVICT_MS: i64 = 1_000;
/// Runs that a shard keeps in memory although they only wait; beyond it they are let out at once.
const KEEP_WAITING: usize = 128;

impl Shard {
    /// Takes in what lies in the inbox of a run in memory. False if it cannot be read now.
    pub(crate) fn read_inbox(&mut self, token: u64) -> bool {
        self.read_inbox_again(token, 0)
    }

    /// Could the inbox of this run not be read, and is it to be read again?
    pub(crate) fn is_unread(&self, token: u64) -> bool {
        self.unread.iter().any(|(_, other, _)| *other == token)
    }

    /// Takes it in after so many tries that failed: nobody will tell of these messages a second time.
    pub(crate) fn read_inbox_again(&mut self, token: u64, tries: u32) -> bool {
        let Some(run) = self.residents.get_mut(&token) else { return true };
        if run.key == 0 {
            return true;
        }
        match self.inner.read(|reader| reader.inbox(run.key)) {
            Ok(rows) => {
                let seen = run.mail_seen;
                run.mail.extend(rows.into_iter().filter(|message| message.id > seen));
                run.unread |= run.mail.iter().any(|message| message.id > seen);
                run.mail_seen = run.mail.iter().map(|message| message.id).fold(seen, i64::max);
                true
            }
            Err(error) => {
                tracing::warn!(run = %run.id, %error, "its inbox cannot be read now");
                self.inbox_unread(token, tries, &error);
                false
            }
        }
    }

    /// A run's inbox has something new.
    pub(crate) fn inbox(&mut self, key: RunKey) {
        if let Some(token) = self.by_key.get(&key).copied() {
            self.read_inbox(token);
            self.touch(token);
        } else {
            if self.beginning > 0 {
                self.early.push(Early::News(key));
            }
            self.wake(key);
        }
    }

    /// Brings a run that sleeps back into memory.
    pub(crate) fn wake(&mut self, key: RunKey) {
        if let Some(epoch) = self.sleeping.remove(&key) {
            self.load(Wanted::new(key, epoch, Why::Woken));
        }
    }

    /// A place at a service may be free for what waits in this run.
    pub(crate) fn poke(&mut self, key: RunKey) {
        let Some(token) = self.by_key.get(&key).copied() else { return self.wake(key) };
        if let Some(run) = self.residents.get_mut(&token) {
            run.poke(self.inner.now_ms());
        }
        self.touch(token);
    }

    /// Throws out timers that are nobody's, once there are many: a run that is often woken before its time leaves one each time.
    pub(crate) fn clear_timers(&mut self) {
        if self.timers.len() <= self.most_timers {
            return;
        }
        let mut timers = std::mem::take(&mut self.timers).into_vec();
        timers.retain(|Reverse((_, timed))| match timed {
            Timed::Op(token, _) | Timed::Look(token) => self.residents.contains_key(token),
            Timed::Wake(key) => self.sleeping.contains_key(key),
        });
        timers.sort_unstable();
        timers.dedup();
        self.timers = timers.into();
        self.most_timers = (self.timers.len() * 2).max(4_096);
    }

    pub(crate) fn forget_sleeping(&mut self, key: RunKey) {
        self.sleeping.remove(&key);
    }

    /// Releases a run that is not in memory, unless it was resumed since.
    pub(crate) fn release_sleeping(&self, key: RunKey, epoch: i64) {
        let inner = self.inner.clone();
        self.write_in_the_end(move || {
            let inner = inner.clone();
            move |tx: &Tx<'_>| {
                if inner.was_left(key) {
                    release(tx, "run = ?1 AND epoch = ?2", &[&key, &epoch])?;
                }
                Ok(())
            }
        });
    }

    /// Has a run that has nothing to do looked at, when it has waited for a moment.
    pub(crate) fn consider_eviction(&mut self, token: u64) {
        let crowded = self.residents.len() > KEEP_WAITING;
        let Some(run) = self.residents.get_mut(&token) else { return };
        if run.state.status != "waiting" || run.fault.is_some() {
            return;
        }
        if crowded {
            self.maybe_evict(token);
        } else if !run.looked_at {
            run.looked_at = true;
            let at = run.idle_since.max(self.inner.now_ms()) + EVICT_MS;
            self.timers.push(Reverse((at, Timed::Look(token))));
        }
    }

    /// Lets a run out of memory if it only waits, and not for a moment only.
    pub(crate) fn maybe_evict(&mut self, token: u64) {
        let now = self.inner.now_ms();
        let crowded = self.residents.len() > KEEP_WAITING;
        // What lies in its inbox and could not be read is not told of again: it is read again while the run is here.
        let unread = self.is_unread(token);
        let Some(run) = self.residents.get_mut(&token) else { return };
        run.looked_at = false;
        let quiet = crowded || now - run.idle_since >= EVICT_MS;
        let long = run.state.until_ms.is_none_or(|until| until - now > EVICT_MS);
        // What has come and was not looked at yet would lie until the run is woken for something else.
        let busy =
            unread || run.unread || run.committing.is_some() || run.mending || run.fault.is_some() || run.working > 0;
        if busy || !run.arrived.is_empty() || run.state.status != "waiting" || !long {
            return;
        }
        if !quiet {
            return self.consider_eviction(token);
        }
        let (key, epoch, until) = (run.key, run.epoch, run.state.until_ms);
        self.sleeping.insert(key, epoch);
        if let Some(until) = until {
            self.timers.push(Reverse((until, Timed::Wake(key))));
        }
        self.remove(token);
    }
}
