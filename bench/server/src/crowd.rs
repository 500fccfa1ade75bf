//! Many connections at once, each in a thread of its own, and how long each piece of work took.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::connection::Connection;
use crate::{Cfssl, Member, Result};

/// What is sent over a connection, one after the other, and which answers are wanted.
#[derive(Debug)]
pub struct Work<'a>(Vec<(&'a [u8], u16)>);

impl<'a> Work<'a> {
    /// A member enrols and gets a credential.
    #[must_use]
    pub fn enrol_and_issue(member: &'a Member) -> Self {
        Self(vec![(&member.enrol, 204), (&member.credential, 200)])
    }

    /// A certificate is signed.
    #[must_use]
    pub fn certificate(server: &'a Cfssl) -> Self {
        Self(vec![(server.request(), 200)])
    }

    /// Does it, and gives the last answer.
    fn once(&self, connection: &mut Connection) -> Result<Vec<u8>> {
        self.0.iter().try_fold(Vec::new(), |_, (request, wanted)| connection.ask(request, *wanted))
    }
}

/// So many connections to a server.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The server.
    pub to: SocketAddr,
    /// How many.
    pub connections: usize,
}

/// How it went.
#[derive(Debug)]
pub struct Measured {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Processor time of this process in between.
    pub processor: Duration,
    /// How long each piece took, in order.
    pub latencies: Vec<Duration>,
    /// The last answer to each piece, in the order of the work.
    pub answers: Vec<Vec<u8>>,
}

impl Crowd {
    /// Divides the work among the connections and has it done.
    ///
    /// # Errors
    /// When a server answers anything else than what is wanted.
    pub fn run(self, work: &[Work<'_>]) -> Result<Measured> {
        let connections = self.connections.max(1);
        let barrier = Barrier::new(connections + 1);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|number| {
                    let barrier = &barrier;
                    scope.spawn(move || -> Result<Vec<(usize, Duration, Vec<u8>)>> {
                        let connection = Connection::open(self.to);
                        barrier.wait();
                        let mut connection = connection?;
                        let mine = work.iter().enumerate().skip(number).step_by(connections);
                        mine.map(|(index, piece)| {
                            let begin = Instant::now();
                            let answer = piece.once(&mut connection)?;
                            Ok((index, begin.elapsed(), answer))
                        })
                        .collect()
                    })
                })
                .collect();
            barrier.wait();
            let (begin, processor) = (Instant::now(), processor_time());
            let mut done = Vec::with_capacity(work.len());
            for thread in threads {
                done.extend(thread.join().map_err(|_| "a client panicked")??);
            }
            let (elapsed, processor) = (begin.elapsed(), processor_time().saturating_sub(processor));
            let mut latencies: Vec<_> = done.iter().map(|(_, latency, _)| *latency).collect();
            latencies.sort_unstable();
            done.sort_unstable_by_key(|(index, ..)| *index);
            let answers = done.into_iter().map(|(_, _, answer)| answer).collect();
            Ok(Measured { elapsed, processor, latencies, answers })
        })
    }
}

impl Measured {
    /// Pieces of work a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Processor time of this process for one piece.
    #[must_use]
    pub fn processor_each(&self) -> Duration {
        self.processor / u32::try_from(self.latencies.len()).unwrap_or(u32::MAX).max(1)
    }

    /// What this part of the pieces (in hundredths) did not take longer than.
    #[must_use]
    pub fn percentile(&self, hundredths: usize) -> Duration {
        let at = (self.latencies.len() * hundredths).div_ceil(100).saturating_sub(1);
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_pieces() {
        let latencies = (1..=200).map(Duration::from_millis).collect();
        let second = Duration::from_secs(1);
        let measured = Measured { elapsed: second, processor: second, latencies, answers: Vec::new() };
        assert_eq!(measured.percentile(50), Duration::from_millis(100));
        assert_eq!(measured.percentile(99), Duration::from_millis(198));
        assert_eq!(measured.processor_each(), Duration::from_millis(5));
        assert!((measured.rate() - 200.0).abs() < 1e-6);
    }
}
