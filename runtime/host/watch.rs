//! Notices what other processes do: messages for our runs, and owners that died. It never works a run itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::inner::Inner;
use super::shard::Msg;
use crate::store::{First, Reader};
use crate::{HostError, crash};

/// How often the file is looked at for other processes' commits.
const LOOK: Duration = Duration::from_millis(25);
/// How often other owners are probed.
const PROBE: Duration = Duration::from_millis(25);

/// The watching thread.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(inner: &Arc<Inner>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (weak, stopped) = (Arc::downgrade(inner), stop.clone());
        let thread = std::thread::Builder::new().name("abide-watch".to_owned()).spawn(move || run(&weak, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

#[derive(Default)]
struct Seen {
    reader: Option<Reader>,
    version: i64,
    /// The newest message; one that goes on with others' runs looks at those that came before it, too.
    message: Option<i64>,
    /// Who stood first in line where a place was free, and was told so.
    first: Vec<First>,
    probed: Option<Instant>,
    #[cfg(feature = "schedule")]
    meetings: super::meet::Meetings,
}

fn run(inner: &Weak<Inner>, stop: &AtomicBool) {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Acquire) {
        {
            let Some(inner) = inner.upgrade() else { return };
            if let Err(gone) = inner.place.check() {
                // Nobody may learn of anything more, and whoever waits is told why.
                for shard in 0..inner.shards.len() {
                    inner.send(shard, Msg::Gone(gone.clone()));
                }
                return;
            }
            if let Err(error) = look(&inner, &mut seen) {
                tracing::debug!(%error, "the database cannot be looked at now");
                (seen.reader, seen.version) = (None, 0);
            }
        }
        std::thread::park_timeout(LOOK);
    }
}

fn look(inner: &Arc<Inner>, seen: &mut Seen) -> Result<(), HostError> {
    let reader = match &seen.reader {
        Some(reader) => reader,
        None => seen.reader.insert(Reader::open(&inner.db)?),
    };
    let known = match seen.message {
        Some(known) => known,
        None if inner.recover => 0,
        None => reader.newest_message()?,
    };
    let version = reader.data_version()?;
    if version != seen.version || seen.message.is_none() {
        let (runs, newest) = reader.news(known)?;
        (seen.version, seen.message) = (version, Some(newest));
        for run in runs {
            inner.news(run);
        }
        let own = inner.own_id();
        if own != 0 {
            let first = reader.may_go(own, inner.now_ms())?;
            for one in first.iter().filter(|one| !seen.first.contains(one)) {
                inner.poke(one.run);
            }
            seen.first = first;
        }
    }
    if seen.probed.is_none_or(|at| at.elapsed() >= PROBE) {
        seen.probed = Some(Instant::now());
        let own = inner.own_id();
        if own != 0 {
            inner.writer.set_others(reader.has_others(own)?);
            inner.governor.set_dead(reader.dead_in_line(own)?);
        }
        #[cfg(feature = "schedule")]
        if inner.recover {
            seen.meetings.look(inner, reader)?;
        }
        if inner.recover || inner.has_line() {
            adopt_orphans(inner, reader, own)?;
        }
    }
    Ok(())
}

/// Takes up the runs that dead processes left, or that are due and nobody's.
fn adopt_orphans(inner: &Arc<Inner>, reader: &Reader, own: i64) -> Result<(), HostError> {
    let now = inner.now_ms();
    let wanted =
        |key, workflow: &str| (inner.recover || inner.is_in_line(key)) && inner.knows(workflow) && !inner.was_left(key);
    let orphans = reader.orphans(own, now, wanted)?;
    for key in orphans {
        crash::point("orphan.found");
        let inner = inner.clone();
        inner.runtime.clone().spawn(async move {
            if let Err(error) = inner.adopt(key).await
                && !matches!(error, HostError::Owned { .. })
            {
                tracing::warn!(key, %error, "a run cannot be taken up");
            }
        });
    }
    Ok(())
}
