//! When a request may go to a service with limits: a pure function of what is known. It never reads a clock or a table.

use abide_engine::Rates;

/// Requests are counted over a minute and a second more: between the commit that admits one and its arrival lies the way there.
pub(super) const WINDOW_MS: i64 = 61_000;
/// Who waits for a place that somebody else has to give back looks again after this, though it is told before.
const LOOK_MS: i64 = 15_000;
/// How many of those that wait are told at once that there is room.
const MOST_TOLD: u64 = 64;
/// How many may be under way at a service of which nothing is known yet. Where fewer were answered within the window, a refusal says that it is
/// busy, and nothing of its limits.
pub(super) const UNKNOWN: u64 = 8;

/// What is known when somebody asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) now: i64,
    pub(super) rates: Rates,
    /// Nobody asks before this.
    pub(super) blocked_until: i64,
    /// Requests under way.
    pub(super) under_way: u64,
    /// Requests that were answered within the window.
    pub(super) answered: u64,
    /// One was refused within the window.
    pub(super) refused: bool,
    /// Requests within the window and their tokens.
    pub(super) used: (u64, u64),
    /// Those who wait and come first, and their tokens.
    pub(super) ahead: (u64, u64),
    /// The tokens of this request.
    pub(super) tokens: u64,
}

/// What keeps a request from going now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Short {
    /// How many requests have to leave the window first.
    pub(super) requests: u64,
    /// How many tokens have to.
    pub(super) tokens: u64,
    /// Requests at the same time are as many as may be.
    pub(super) places: bool,
    pub(super) blocked: bool,
}

impl Known {
    /// What is lacking; `None` if it may go now.
    pub(super) fn lacks(&self) -> Option<Short> {
        let over = |limit: Option<u64>, used: u64| limit.map_or(0, |limit| used.saturating_sub(limit.max(1)));
        let (used, ahead) = (self.used, self.ahead);
        let requests = over(self.rates.requests.map(u64::from), used.0 + ahead.0 + 1);
        // What is larger than the whole limit goes when nothing else is counted.
        let alone = used.1.saturating_add(ahead.1) == 0;
        let all = used.1.saturating_add(ahead.1).saturating_add(self.tokens);
        let tokens = if alone { 0 } else { over(self.rates.tokens, all) };
        let places = self.most_at_once().is_some_and(|most| self.under_way + ahead.0 >= most);
        let short = Short { requests, tokens, places, blocked: self.blocked_until > self.now };
        (short != Short::default()).then_some(short)
    }

    /// How many more requests of this size might go now, as many as are told at once.
    pub(super) fn room(&self) -> usize {
        if self.blocked_until > self.now {
            return 0;
        }
        let requests = self.rates.requests.map(|limit| u64::from(limit.max(1)).saturating_sub(self.used.0));
        // By the tokens that are left, one is tried at least: it may be smaller than it looks.
        let by_size = |left: u64| if left == 0 { 0 } else { (left / self.tokens.max(1)).max(1) };
        let tokens = self.rates.tokens.map(|limit| by_size(limit.max(1).saturating_sub(self.used.1)));
        let places = self.most_at_once().map(|most| most.saturating_sub(self.under_way));
        let room = [requests, tokens, places].into_iter().flatten().fold(MOST_TOLD, u64::min);
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// A service whose limits nobody knows is not flooded: what it has answered lately may be doubled, and one that refuses is asked by one
    /// at first.
    fn most_at_once(&self) -> Option<u64> {
        let named = self.rates.concurrency.map(|most| u64::from(most.max(1)));
        let first = if self.refused { 1 } else { UNKNOWN };
        let careful = self.rates.requests.is_none().then(|| first.max(self.answered.saturating_mul(2)));
        named.into_iter().chain(careful).min()
    }

    /// When it is worth asking again; `window` are the requests that count, the oldest first.
    pub(super) fn again_at(&self, short: Short, window: &[(i64, u64)]) -> i64 {
        let mut at = self.now + 1;
        if short.blocked {
            at = at.max(self.blocked_until);
        }
        if short.requests > 0 {
            let limit = self.rates.requests.map_or(1, |limit| u64::from(limit.max(1)));
            // Each place is taken again when it is left, a window later: those of today first, then those that are free now.
            let places = limit.max(window.len() as u64);
            let (round, place) = ((short.requests - 1) / places, (short.requests - 1) % places);
            let taken = usize::try_from(place).ok().and_then(|place| window.get(place)).map_or(self.now, |(at, _)| *at);
            let rounds = i64::try_from(round + 1).unwrap_or(i64::MAX);
            at = at.max(taken.saturating_add(WINDOW_MS.saturating_mul(rounds)));
        }
        if short.tokens > 0 {
            let mut left = short.tokens;
            let leaves = window.iter().find(|(_, tokens)| {
                left = left.saturating_sub(*tokens);
                left == 0
            });
            at = at.max(leaves.or(window.last()).map_or(self.now, |(last, _)| *last) + WINDOW_MS);
        }
        if short.places {
            at = at.max(self.now + LOOK_MS);
        }
        at
    }
}

/// What a limit of requests that a rate limit has shown has grown to: a tenth more each minute, and one at least.
pub(super) fn grown(guessed: u32, minutes: u64) -> u32 {
    let factor = 1.1_f64.powi(i32::try_from(minutes.min(200)).unwrap_or(200));
    let tenths = (f64::from(guessed.max(1)) * factor).min(f64::from(u32::MAX)) as u32;
    tenths.max(guessed.max(1).saturating_add(u32::try_from(minutes).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(rates: Rates) -> Known {
        Known { now: 1_000_000, rates, tokens: 100, answered: 1_000, ..Known::default() }
    }

    fn rates(requests: Option<u32>, tokens: Option<u64>, concurrency: Option<u32>) -> Rates {
        Rates { requests, tokens, concurrency }
    }

    #[test]
    fn what_fits_goes_now_and_what_does_not_says_when() {
        let none = Known { ahead: (0, 0), used: (2, 200), ..known(rates(Some(3), Some(300), Some(1))) };
        assert_eq!(none.lacks(), None);
        let window = [(990_000, 150), (995_000, 50)];
        for (requests, tokens, under_way, ahead, expected) in [
            (Some(2), None, 0, (0, 0), Some(990_000 + WINDOW_MS)),
            (Some(3), None, 0, (0, 0), None),
            (Some(3), None, 0, (1, 0), Some(990_000 + WINDOW_MS)),
            (Some(3), None, 0, (2, 0), Some(995_000 + WINDOW_MS)),
            (Some(3), None, 0, (3, 0), Some(1_000_000 + WINDOW_MS)),
            (Some(3), None, 0, (4, 0), Some(990_000 + 2 * WINDOW_MS)),
            (Some(3), None, 0, (6, 0), Some(1_000_000 + 2 * WINDOW_MS)),
            (None, Some(299), 0, (0, 0), Some(990_000 + WINDOW_MS)),
            (None, Some(149), 0, (0, 0), Some(995_000 + WINDOW_MS)),
            (None, Some(300), 0, (0, 0), None),
            (None, None, 1, (0, 0), Some(1_000_000 + LOOK_MS)),
        ] {
            let concurrency = (under_way > 0).then_some(1);
            let known = Known { used: (2, 200), under_way, ahead, ..known(rates(requests, tokens, concurrency)) };
            let at = known.lacks().map(|short| known.again_at(short, &window));
            assert_eq!(at, expected, "{known:?}");
        }
    }

    #[test]
    fn what_is_larger_than_the_limit_goes_alone() {
        let mut known = known(rates(None, Some(50), None));
        assert_eq!(known.lacks(), None);
        known.used = (1, 1);
        assert!(known.lacks().is_some());
    }

    #[test]
    fn a_service_that_nobody_knows_is_not_flooded() {
        let mut known = Known { under_way: 8, answered: 0, ..known(Rates::default()) };
        assert!(known.lacks().is_some_and(|short| short.places));
        known.answered = 5;
        assert_eq!(known.lacks(), None);
        (known.answered, known.refused, known.under_way) = (0, true, 1);
        assert!(known.lacks().is_some_and(|short| short.places));
        known.answered = 1;
        assert_eq!(known.lacks(), None);
        known.rates.requests = Some(1_000);
        assert_eq!(known.lacks(), None);
    }

    #[test]
    fn as_many_are_told_as_there_is_room_for() {
        let all = rates(Some(50), Some(1_000), Some(7));
        for (rates, used, under_way, blocked_until, expected) in [
            (all, (0, 0), 0, 0, 7),
            (all, (0, 0), 5, 0, 2),
            (all, (0, 0), 9, 0, 0),
            (all, (48, 0), 0, 0, 2),
            (all, (60, 0), 0, 0, 0),
            (all, (0, 700), 0, 0, 3),
            (all, (0, 950), 0, 0, 1),
            (all, (0, 1_000), 0, 0, 0),
            (all, (0, 0), 0, 2_000_000, 0),
            (rates(Some(1_000), None, None), (0, 0), 0, 0, 64),
            (rates(None, None, None), (9, 0), 1_999, 0, 1),
        ] {
            let known = Known { blocked_until, under_way, used, ..known(rates) };
            assert_eq!(known.room(), expected, "{known:?}");
        }
    }

    #[test]
    fn a_block_holds_for_all() {
        let known = Known { blocked_until: 1_120_000, ..known(Rates::default()) };
        let short = known.lacks().unwrap_or_default();
        assert_eq!((short.blocked, known.again_at(short, &[])), (true, 1_120_000));
    }

    #[test]
    fn a_guess_grows_slowly() {
        assert_eq!((grown(100, 0), grown(100, 1), grown(0, 0)), (100, 110, 1));
        assert_eq!((grown(1, 1), grown(1, 5), grown(4, 1)), (2, 6, 5));
        assert!(grown(100, 10_000) > 1_000_000);
    }
}
