//! maru-files
