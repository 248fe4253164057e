//! Errors that carry a decision.

/// An error that knows whether the same attempt may succeed later.
pub trait Retryable: std::error::Error {
    /// True when nothing about the input is wrong and trying again may help.
    fn is_retryable(&self) -> bool;

    /// True when it is this worker that cannot do it and another can: the attempt is not counted.
    fn hands_back(&self) -> bool {
        false
    }

    /// True when the input is the likely cause, though another attempt may still succeed: a second
    /// attempt in a row that ends with the same code is the last.
    fn blames_input(&self) -> bool {
        false
    }

    /// A stable code for machines, in kebab-case; never changed once released.
    fn code(&self) -> &'static str;

    /// The tail of a tool's own words where they help; empty where there are none.
    fn detail(&self) -> &str {
        ""
    }

    /// The command line of the tool that failed; empty where there was none.
    fn command(&self) -> &str {
        ""
    }
}
