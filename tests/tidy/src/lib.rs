//! maru-tidy
