//! Stands in for `r3bl_tui`, whose `size-of` current compilers refuse: what `ockam_api` needs of it to compile. Texts get
//! no colours.

use r3bl_rs_utils_core::UnicodeString;

/// How fast colours change.
#[derive(Debug)]
pub enum ColorWheelSpeed {
    /// At each character or so.
    Fast,
}

/// Which colours.
#[derive(Debug)]
pub enum ColorWheelConfig {
    /// From the first to the last.
    Rgb(Vec<String>, ColorWheelSpeed, u8),
}

/// Where colours begin.
#[derive(Debug)]
pub enum GradientGenerationPolicy {
    /// At the first one.
    ReuseExistingGradientAndResetIndex,
}

/// What gets a colour of its own.
#[derive(Debug)]
pub enum TextColorizationPolicy {
    /// Each character.
    ColorEachCharacter(Option<()>),
}

/// Colours, which it forgets.
#[derive(Debug)]
pub struct ColorWheel;

impl ColorWheel {
    /// Takes colours.
    pub fn new(_: Vec<ColorWheelConfig>) -> Self {
        Self
    }

    /// The text as it is.
    pub fn colorize_into_string(
        &mut self,
        text: &UnicodeString,
        _: GradientGenerationPolicy,
        _: TextColorizationPolicy,
    ) -> String {
        text.0.clone()
    }
}
