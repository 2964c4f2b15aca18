//! Governed numbers as people name them.

use std::fmt;
use std::str::FromStr;

use tidings_chain::{DEFINITIONS, Definition, Parameter};

/// A value that a parameter is to have, within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Which parameter.
    pub parameter: Parameter,
    /// In the unit of its definition.
    pub value: u64,
}

/// The text is no setting that the contract would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingInvalid {
    /// The form is another.
    #[error("a setting is NAME=VALUE, with a whole number")]
    Form,
    /// Nothing has this name.
    #[error("there is no parameter {0}; `tidings gov parameters` lists them")]
    Unknown(String),
    /// The contract refuses it, whoever votes for it.
    #[error("{} is {} to {} {}, and not {value}", definition.name, definition.min, definition.max, definition.unit)]
    OutOfBounds {
        /// What the parameter is.
        definition: Definition,
        /// What was asked for.
        value: u64,
    },
}

impl Setting {
    /// The setting of the parameter with this name.
    ///
    /// # Errors
    /// [`SettingInvalid`] when there is none, or the value is out of its bounds.
    pub fn new(name: &str, value: u64) -> Result<Self, SettingInvalid> {
        let Some(known) = DEFINITIONS.iter().find(|known| known.name == name) else {
            return Err(SettingInvalid::Unknown(name.chars().take(NAME_CHARACTERS_MAX).collect()));
        };
        if !(known.min..=known.max).contains(&value) {
            return Err(SettingInvalid::OutOfBounds { definition: *known, value });
        }
        Ok(Self { parameter: known.parameter, value })
    }

    /// What the parameter is.
    #[must_use]
    pub fn definition(&self) -> Definition {
        DEFINITIONS[self.parameter as usize]
    }
}

/// How much of a name that nobody knows is repeated.
const NAME_CHARACTERS_MAX: usize = 40;

impl FromStr for Setting {
    type Err = SettingInvalid;

    fn from_str(text: &str) -> Result<Self, SettingInvalid> {
        let (name, value) = text.split_once('=').ok_or(SettingInvalid::Form)?;
        let value = value.trim().parse().map_err(|_| SettingInvalid::Form)?;
        Self::new(name.trim(), value)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Definition { name, unit, .. } = self.definition();
        write!(formatter, "{name} to {} {unit}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_within_its_bounds() {
        let setting: Setting = "PeriodMs=10000".parse().unwrap();
        assert_eq!((setting.parameter, setting.value), (Parameter::PeriodMs, 10_000));
        assert_eq!(setting.to_string(), "PeriodMs to 10000 milliseconds");
        let refused = |text: &str| text.parse::<Setting>().unwrap_err().to_string();
        assert_eq!(refused("PeriodMs=1"), "PeriodMs is 1000 to 86400000 milliseconds, and not 1");
        assert!(refused("Colour=1").contains("no parameter Colour"));
        for text in ["PeriodMs", "PeriodMs=", "PeriodMs=-1", "PeriodMs=1.5", "=", ""] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
