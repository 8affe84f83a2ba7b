//! The Storage seam.
