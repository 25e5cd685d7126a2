//! Maru
