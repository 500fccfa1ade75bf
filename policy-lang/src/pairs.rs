//! What two evaluations of one expression can come to at once.

use core::ops::BitOr;

/// What one evaluation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    True,
    False,
    /// A value that is no bool.
    Other,
    Error,
    /// A value that is absent or holds something absent. The exact meaning has none.
    Absent,
}

const CLASSES: [Class; 5] = [Class::True, Class::False, Class::Other, Class::Error, Class::Absent];

/// A set of pairs: what the exact meaning comes to, and what the strict one does in the same environment. Where both come
/// to [`Class::Other`], it is the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pairs(u32);

impl Pairs {
    pub(crate) const NONE: Self = Self(0);

    /// Whatever can be, [`Class::Absent`] aside: of a comparison it is never the result.
    pub(crate) const ALL: Self = Self(0b01111_01111_01111_01111);

    pub(crate) fn of(exact: Class, strict: Class) -> Self {
        Self(1 << (exact as u32 * 5 + strict as u32))
    }

    pub(crate) fn same(class: Class) -> Self {
        Self::of(class, class)
    }

    pub(crate) fn has(self, exact: Class, strict: Class) -> bool {
        self.0 & Self::of(exact, strict).0 != 0
    }

    pub(crate) fn without(self, exact: Class, strict: Class) -> Self {
        Self(self.0 & !Self::of(exact, strict).0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (Class, Class)> {
        let all =
            CLASSES.into_iter().flat_map(|exact| CLASSES.into_iter().map(move |strict| (exact, strict)));
        all.filter(move |(exact, strict)| self.has(*exact, *strict))
    }

    /// Whether both always come to the same.
    pub(crate) fn agree(self) -> bool {
        self.iter().all(|(exact, strict)| exact == strict)
    }

    /// Whether one may allow what the other denies.
    pub(crate) fn decide_differently(self) -> bool {
        self.iter().any(|(exact, strict)| (exact == Class::True) != (strict == Class::True))
    }

    /// Both results, each changed by itself.
    fn map(self, change: impl Fn(Class) -> Class) -> Self {
        self.iter().fold(Self::NONE, |all, (exact, strict)| all | Self::of(change(exact), change(strict)))
    }

    pub(crate) fn negated(self) -> Self {
        self.map(|class| match class {
            Class::True => Class::False,
            Class::False => Class::True,
            Class::Other | Class::Error | Class::Absent => Class::Error,
        })
    }

    /// `if`, with these results of its test.
    pub(crate) fn choose(self, then: Self, otherwise: Self) -> Self {
        let branch = |test| match test {
            Class::True => then,
            Class::False => otherwise,
            Class::Other | Class::Error | Class::Absent => Self::same(Class::Error),
        };
        let mut all = Self::NONE;
        for (exact, strict) in self.iter() {
            if exact == strict {
                all = all | branch(exact);
                continue;
            }
            for (result, _) in branch(exact).iter() {
                for (_, other) in branch(strict).iter() {
                    // Two values out of two branches are not the same value.
                    let other =
                        if (result, other) == (Class::Other, Class::Other) { Class::Absent } else { other };
                    all = all | Self::of(result, other);
                }
            }
        }
        all
    }
}

impl BitOr for Pairs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where an evaluation of `and` or `or` stands behind some of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No argument has settled it.
    Open,
    Settled(Class),
}

const PLACES: [Place; 5] = [
    Place::Open,
    Place::Settled(Class::True),
    Place::Settled(Class::False),
    Place::Settled(Class::Other),
    Place::Settled(Class::Error),
];

/// `and` (which ends at false) or `or` (which ends at true), argument by argument.
pub(crate) struct Chain {
    end: Class,
    open: Class,
    /// For each place of the exact evaluation those of the strict one that go with it.
    places: [[bool; 5]; 5],
}

impl Chain {
    pub(crate) fn new(end: bool) -> Self {
        let (end, open) = if end { (Class::True, Class::False) } else { (Class::False, Class::True) };
        let mut places = [[false; 5]; 5];
        if let Some(first) = places.first_mut().and_then(|row| row.first_mut()) {
            *first = true;
        }
        Self { end, open, places }
    }

    /// Adds an argument that comes to `pairs`.
    pub(crate) fn step(&mut self, pairs: Pairs, last: bool) {
        let mut next = [[false; 5]; 5];
        for (exact, strict) in self.standing() {
            for (e, s) in pairs.iter() {
                let (exact, strict) = (self.exact(exact, e, last), self.strict(strict, s, last));
                let cell = next.get_mut(index(exact)).and_then(|row| row.get_mut(index(strict)));
                if let Some(cell) = cell {
                    *cell = true;
                }
            }
        }
        self.places = next;
    }

    pub(crate) fn finish(self) -> Pairs {
        let class = |place| match place {
            Place::Open => self.open,
            Place::Settled(class) => class,
        };
        self.standing().fold(Pairs::NONE, |all, (exact, strict)| all | Pairs::of(class(exact), class(strict)))
    }

    fn standing(&self) -> impl Iterator<Item = (Place, Place)> {
        let places = self.places;
        PLACES.into_iter().zip(places).flat_map(|(exact, row)| {
            PLACES.into_iter().zip(row).filter(|(_, there)| *there).map(move |(strict, _)| (exact, strict))
        })
    }

    /// In order: the first argument that is no bool, or that ends it, settles it; the last one whatever it is.
    fn exact(&self, place: Place, arg: Class, last: bool) -> Place {
        match (place, arg) {
            (Place::Settled(_), _) => place,
            (Place::Open, Class::Other) if last => Place::Settled(Class::Other),
            (Place::Open, arg) if arg == self.end => Place::Settled(arg),
            (Place::Open, arg) if arg == self.open => Place::Open,
            (Place::Open, _) => Place::Settled(Class::Error),
        }
    }

    /// After Kleene: what ends it settles it, an error only for as long as nothing does.
    fn strict(&self, place: Place, arg: Class, last: bool) -> Place {
        match place {
            Place::Settled(class) if class == self.end => place,
            _ if arg == self.end => Place::Settled(arg),
            Place::Open if arg == self.open => Place::Open,
            Place::Open if arg == Class::Other && last => Place::Settled(arg),
            _ => Place::Settled(Class::Error),
        }
    }
}

fn index(place: Place) -> usize {
    PLACES.iter().position(|each| *each == place).unwrap_or(0)
}
