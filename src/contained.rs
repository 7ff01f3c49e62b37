//! Calls into crates that panic on damaged files: here that is an error like any other.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is about to become an error.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`; a panic in it is an error with what it says, and nothing is printed.
///
/// What `work` had begun to change is to be used no more after that.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                before(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(contained(|| 1), Ok(1));
        let empty: [u8; 0] = [];
        let found = contained(|| empty[empty.len()]);
        assert_eq!(
            found.unwrap_err(),
            "index out of bounds: the len is 0 but the index is 0"
        );
        assert_eq!(
            contained(|| contained(|| panic!("x"))),
            Ok(Err("x".into())) as Result<Result<(), _>, _>
        );
        assert!(!CONTAINED.get());
    }
}
