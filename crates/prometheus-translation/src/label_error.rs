//! What is wrong with a label: its name or its value.

use crate::label_name::LabelNameError;

/// Why a series has no labels. The cause is always in the data, or in the labels that the configuration adds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelError {
    /// An attribute key gives no label name.
    #[error(transparent)]
    Name(#[from] LabelNameError),
    /// The name is empty, reserved or not UTF-8.
    #[error("{0:?} is not a valid label name")]
    InvalidName(String),
    /// The value of this label is not UTF-8.
    #[error("label {0:?} has a value that is not valid UTF-8")]
    InvalidValue(String),
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Checks the name of a label as the Prometheus client library of the Go collector does.
pub(crate) fn check_name(name: &[u8]) -> Result<(), LabelError> {
    if name.is_empty() || name.starts_with(b"__") || str::from_utf8(name).is_err() {
        return Err(LabelError::InvalidName(lossy(name)));
    }
    Ok(())
}

/// Checks the value of a label of this name.
pub(crate) fn check_value(name: &[u8], value: &[u8]) -> Result<(), LabelError> {
    str::from_utf8(value).map(drop).map_err(|_| LabelError::InvalidValue(lossy(name)))
}
