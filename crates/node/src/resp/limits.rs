//! Everything that one client can make a node hold is bounded here.

use crate::config;

/// What a client may send and leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// The longest request (`client-query-buffer-limit`).
    pub query_bytes_max: usize,
    /// The most arguments of a request.
    pub arguments_max: usize,
    /// The longest inline request, and the longest line that announces a length.
    pub line_bytes_max: usize,
    /// The most arguments of a request before authentication.
    pub unauthenticated_arguments_max: usize,
    /// The longest argument before authentication.
    pub unauthenticated_bulk_bytes_max: usize,
    /// Requests that run before their replies are written; the others wait in the read buffer.
    pub pipeline_max: usize,
    /// Replies that gather before they are written. No further request runs above it.
    pub output_batch_bytes: usize,
    /// A client with more unread than this is closed at once.
    pub output_bytes_max: usize,
    /// A client with more unread than this for [`Limits::output_soft_ms`] is closed.
    pub output_soft_bytes: usize,
    /// See [`Limits::output_soft_bytes`].
    pub output_soft_ms: u64,
}

impl Limits {
    /// The limits of a configuration, and those that are Redis's and fixed.
    #[must_use]
    pub fn new(settings: &config::Limits) -> Limits {
        Limits {
            bulk_bytes_max: settings.argument_bytes_max.as_usize(),
            query_bytes_max: settings.query_bytes_max.as_usize(),
            arguments_max: settings.arguments_max,
            line_bytes_max: settings.line_bytes_max.as_usize(),
            unauthenticated_arguments_max: 10,
            unauthenticated_bulk_bytes_max: 16 << 10,
            pipeline_max: settings.pipeline_max,
            output_batch_bytes: 64 << 10,
            output_bytes_max: settings.output_bytes_max.as_usize(),
            output_soft_bytes: settings.output_soft_bytes.as_usize(),
            output_soft_ms: settings.output_soft_time.as_millis(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(&config::Limits::default())
    }
}
