//! Places at which a test lets the process die.

/// Ends the process at once, as a kill does, if `MARU_FAULT_POINT` names this point. In release builds it does nothing.
pub fn point(name: &str) {
    if cfg!(debug_assertions)
        && std::env::var_os("MARU_FAULT_POINT").is_some_and(|wanted| wanted == name)
    {
        std::process::abort();
    }
}
