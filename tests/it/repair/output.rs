//! What a repair says.
