//! The order in which completions that wait together are delivered (DESIGN rule 5). It never waits for one.

/// What kind of completion it is, in the order of a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// From the inbox: a signal, a child's end, a cancel; its time is that of its commit.
    Inbox,
    /// A step's outcome; its time is that of its end.
    Outcome,
    /// A timer or the time-out of a signal; its time is when it was due.
    Due,
}

/// Sorts completions by time, so that a process that slept delivers what came before a time-out before the time-out.
pub fn in_order<T>(waiting: &mut [T], when: impl Fn(&T) -> (i64, Arrival)) {
    waiting.sort_by_key(|one| when(one));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_before_or_at_the_due_time_comes_before_the_time_out() {
        let mut waiting = [(50, Arrival::Due, "time-out"), (50, Arrival::Inbox, "signal"), (40, Arrival::Due, "timer")];
        in_order(&mut waiting, |w| (w.0, w.1));
        assert_eq!(waiting.map(|w| w.2), ["timer", "signal", "time-out"]);
    }
}
