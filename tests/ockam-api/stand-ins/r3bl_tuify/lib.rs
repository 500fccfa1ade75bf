//! Stands in for `r3bl_tuify`, which draws with a library whose `size-of` current compilers refuse: what `ockam_api` needs
//! of it to compile. There is no terminal, so nobody chooses anything.

use r3bl_rs_utils_core::ChUnit;

/// Columns of a terminal that does not say how many it has.
pub const DEFAULT_WIDTH: usize = 80;

/// Columns of the terminal.
pub fn get_terminal_width() -> usize {
    DEFAULT_WIDTH
}

/// Of a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Columns.
    pub col_count: ChUnit,
}

/// There is none.
pub fn get_size() -> Option<Size> {
    None
}

/// How many may be chosen.
#[derive(Clone, Copy, Debug)]
pub enum SelectionMode {
    /// One.
    Single,
    /// Several.
    Multiple,
}

/// How a list looks.
#[derive(Clone, Debug, Default)]
pub struct StyleSheet;

/// What somebody chose: nothing.
pub fn select_from_list(
    _: String,
    _: Vec<String>,
    _: usize,
    _: usize,
    _: SelectionMode,
    _: StyleSheet,
) -> Option<Vec<String>> {
    None
}
