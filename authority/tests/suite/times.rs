//! Tickets at the edges of time: good from the second in which they are made, and no longer good in the second that they
//! expire at. The table is tests/golden/ticket-times.txt.

use std::fmt::Write as _;

use authority::Problem;
use authority::ticket::{MAX_TICKET_SECONDS, NewTicket};
use identity::Timestamp;

use crate::authz::golden;
use crate::common::{NOW, World, attributes, memory};

/// 2027-07-01T00:00:00Z.
const LEAP: u64 = 1_814_400_000;

/// A name for a time, a second in which a ticket is made, and for how long.
const CASES: [(&str, u64, u64); 10] = [
    ("the shortest", NOW.0, 1),
    ("ten minutes", NOW.0, 600),
    ("the longest", NOW.0, MAX_TICKET_SECONDS),
    ("over the end of June 2027, where a leap second may be", LEAP - 1, 2),
    ("over 2038-01-19", i32::MAX as u64 - 5, 10),
    ("over 2106-02-07", u32::MAX as u64 - 5, 10),
    ("at the end of the year 9999", 253_402_300_790, 10),
    ("at the end of signed time", i64::MAX as u64 - 5, 10),
    ("at the end of time", u64::MAX - 10, 10),
    ("over the end of time", u64::MAX - 5, 10),
];

#[tokio::test]
async fn a_ticket_is_good_until_the_second_it_expires_at() {
    let mut table = String::from(
        "# A ticket made at, good until (not any more then); enrolling with it: at that second, one before\n# the end, at the end, one after it.\n",
    );
    for (name, made_at, seconds) in CASES {
        let world = World::new(memory).await;
        world.clock.set(Timestamp(made_at));
        let new = NewTicket::new(attributes(&[]), Some(seconds), Some(10)).unwrap();
        let issued = world.authority.make_ticket(&world.enroller().await, new).await.unwrap();
        let end = issued.ticket.expires_at;
        assert_eq!((issued.ticket.created_at.0, end.0), (made_at, made_at.saturating_add(seconds)), "{name}");
        write!(table, "{name} | {made_at} | {end}").unwrap();
        for at in [made_at, end.0 - 1, end.0, end.0.saturating_add(1)] {
            world.clock.set(Timestamp(at));
            let (_, stranger) = world.stranger().await;
            let answer = world.authority.enrol(&stranger, &issued.code).await;
            let good = at < end.0;
            assert_eq!(answer.is_ok(), good, "{name}, at {at}");
            write!(table, " | {}", answer.as_ref().err().map_or("ok", Problem::code)).unwrap();
        }
        table.push('\n');
    }
    golden("ticket-times.txt", &table);
}

#[test]
fn a_ticket_has_an_end_and_it_is_not_far() {
    let new = |seconds| NewTicket::new(attributes(&[]), seconds, None).is_ok();
    for (seconds, good) in [
        (None, true),
        (Some(0), false),
        (Some(1), true),
        (Some(MAX_TICKET_SECONDS), true),
        (Some(MAX_TICKET_SECONDS + 1), false),
        (Some(u64::MAX), false),
    ] {
        assert_eq!(new(seconds), good, "{seconds:?}");
    }
}
