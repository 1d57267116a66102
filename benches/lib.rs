//! Measurements of parts in isolation and of whole processes.
