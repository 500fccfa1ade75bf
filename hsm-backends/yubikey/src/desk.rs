//! The worker: owns the connection, makes it when it is needed, and makes it anew, once, when it broke.

use std::sync::Arc;

use vault::Result;

use crate::card::Card;
use crate::errors::{Done, Remedy};
use crate::station::Station;

/// See the module.
pub(crate) struct Desk {
    station: Arc<Station>,
    connect: fn(&Arc<Station>) -> Done<Card>,
    card: Option<Card>,
}

impl Desk {
    /// At a card that is used: its PIN is entered.
    pub(crate) fn new(station: Arc<Station>) -> Self {
        Self { station, connect: Card::connect, card: None }
    }

    /// At a card whose secrets are to be changed: none is entered, and those of the factory are taken.
    pub(crate) fn without_pin(station: Arc<Station>) -> Self {
        Self { station, connect: Card::reach, card: None }
    }

    /// Works on the card. What failed because the connection is gone or the card was reset is tried once more on a fresh
    /// one, unless it may have changed the card already.
    pub(crate) fn attempt<T>(&mut self, mut work: impl FnMut(&mut Card) -> Done<T>) -> Result<T> {
        let name = self.station.address.card();
        let (first, sent) = self.once(&mut work);
        let trouble = match first {
            Ok(done) => return Ok(done),
            Err(trouble) if trouble.remedy() == Remedy::None || sent => {
                return Err(trouble.into_error(&name, sent));
            }
            Err(trouble) => trouble,
        };
        drop(trouble);
        let (second, sent) = self.once(&mut work);
        second.map_err(|trouble| trouble.into_error(&name, sent))
    }

    /// A connection that failed is given up, so that the next request starts with a fresh one.
    fn once<T>(&mut self, work: &mut impl FnMut(&mut Card) -> Done<T>) -> (Done<T>, bool) {
        let mut card = match self.card.take().map_or_else(|| (self.connect)(&self.station), Ok) {
            Ok(card) => card,
            Err(trouble) => return (Err(trouble), false),
        };
        card.sent = false;
        let done = work(&mut card).map_err(|trouble| card.explained(trouble));
        let sent = card.sent;
        if done.as_ref().err().is_none_or(|trouble| trouble.remedy() == Remedy::None) {
            self.card = Some(card);
        }
        (done, sent)
    }
}

impl Drop for Desk {
    /// The PIN that was entered ends with the vault.
    fn drop(&mut self) {
        if let Some(card) = self.card.take() {
            card.close();
        }
    }
}
