//! maru-memory
