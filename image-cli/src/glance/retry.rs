//! Requests that are sent again where what went wrong may pass.

use std::time::Duration;

use super::exchange::{Answer, Exchange, Request};
use crate::monitor::CancellationToken;

/// How often a request is tried that may yet succeed.
const TRIES: u32 = 5;
/// The first pause between tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// A server that asks for more patience (`Retry-After`) gets no more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long nobody asks whether the work is to stop.
const PIECE: Duration = Duration::from_secs(1);

/// Sends a request until it is answered with something that will not pass.
///
/// # Errors
/// Where no answer came at the last try, or the work is to stop.
pub(crate) fn patiently(
    exchange: &dyn Exchange,
    request: &Request,
    cancel: &CancellationToken,
) -> crate::Result<Answer> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        let wanted = match exchange.send(request, None) {
            Ok(answer) if !answer.may_pass() => return Ok(answer),
            Ok(answer) => retry_after(&answer),
            Err(lost) if !lost.may_pass() => return Err(lost.into()),
            Err(_) => None,
        };
        let mut left = wanted.unwrap_or(pause).min(LONGEST_PAUSE);
        while !left.is_zero() {
            cancel.check()?;
            let piece = left.min(PIECE);
            exchange.pause(piece);
            left -= piece;
        }
        cancel.check()?;
        pause *= 2;
    }
    Ok(exchange.send(request, None)?)
}

/// The pause a server asks for, in whole seconds (RFC 9110, section 10.2.3; a date is not understood).
pub(crate) fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::glance::exchange::{Lost, Stream, Verb};

    /// Answers with these statuses, one after the other; 0 is a lost connection.
    struct Moody {
        statuses: Vec<u16>,
        next: Cell<usize>,
        paused: Cell<Duration>,
    }

    impl Moody {
        fn new(statuses: &[u16]) -> Self {
            Self { statuses: statuses.to_vec(), next: Cell::new(0), paused: Cell::default() }
        }
    }

    impl Exchange for Moody {
        fn send(&self, _: &Request, _: Option<Stream<'_>>) -> Result<Answer, Lost> {
            let status = self.statuses[self.next.get()];
            self.next.set(self.next.get() + 1);
            match status {
                0 => Err(Lost::Connection { host: "h".into(), source: ureq::Error::ConnectionFailed }),
                1 => Err(Lost::Untrusted { host: "h".into(), source: ureq::Error::TlsRequired }),
                _ => {
                    Ok(Answer { status, headers: vec![("retry-after".into(), "7".into())], body: Vec::new() })
                }
            }
        }
        fn pause(&self, duration: Duration) {
            self.paused.set(self.paused.get() + duration);
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let outcome = |statuses: &[u16]| {
            let moody = Moody::new(statuses);
            let status = patiently(&moody, &Request::new(Verb::Get, "http://h"), &CancellationToken::new())
                .map(|answer| answer.status)
                .ok();
            (status, moody.next.get(), moody.paused.get())
        };
        assert_eq!(outcome(&[200]), (Some(200), 1, Duration::ZERO));
        assert_eq!(outcome(&[404, 200]), (Some(404), 1, Duration::ZERO));
        assert_eq!(outcome(&[0, 0, 204]), (Some(204), 3, FIRST_PAUSE * 3));
        assert_eq!(outcome(&[503, 200]), (Some(200), 2, Duration::from_secs(7)));
        assert_eq!(outcome(&[500; 9]).0, Some(500));
        assert_eq!(outcome(&[500; 9]).1, TRIES as usize);
        assert_eq!(outcome(&[0; 9]).0, None);
        assert_eq!(outcome(&[1, 200]), (None, 1, Duration::ZERO));
    }
}
