//! Panics of code that must not end the thread that runs it: callbacks of a host program, and the loop in one.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; `Err` is the text of a panic. What `body` was changing may be in any state then.
///
/// # Errors
/// `body` has panicked.
pub fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        // The panic's payload may panic when it is dropped.
        std::mem::forget(panic);
        text.unwrap_or_else(|| "a panic".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn panic_with_any_payload_becomes_a_text() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| panic!("fixed")), Err::<(), _>("fixed".to_owned()));
        assert_eq!(catch_panic(|| panic!("number {}", 1)), Err::<(), _>("number 1".to_owned()));
        assert_eq!(catch_panic(|| std::panic::panic_any(PanicsOnDrop)), Err::<(), _>("a panic".to_owned()));
    }
}
