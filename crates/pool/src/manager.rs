//! What a pool needs to know of its resources.

use std::future::Future;

/// Makes resources, and tells which are still good.
///
/// The pool calls these methods, and drops resources, outside of its lock. A panic in one of them costs the resource that it was about, not its place in the pool;
/// one of a resource's own `Drop` is caught where the pool drops it, and goes on where a guard or a detached resource is dropped.
pub trait Manager: Send + Sync + 'static {
    /// What is pooled: a connection, a handle, anything that one has at a time.
    type Resource: Send + 'static;
    /// Why one couldn't be made, or isn't good any more.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes a resource. Runs in a task of its own, which goes on when whoever asked for it gives up, for at most the builder's `connect_timeout`.
    ///
    /// # Errors
    /// An error delays the next attempt; see [`Manager::is_retryable`].
    fn connect(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Whether a resource that idled for a while is still good. Runs in the task of whoever gets it next, for at most the builder's `check_timeout`; a resource whose check
    /// was cut short is dropped. Without an implementation it is good.
    ///
    /// # Errors
    /// The resource is dropped, and the request goes on with another one.
    fn check(&self, resource: &mut Self::Resource) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = resource;
        std::future::ready(Ok(()))
    }

    /// Whether a resource that comes back is known to be broken, without asking the other side. Called on every return: keep it short.
    fn has_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Whether connecting again may help. `true` (the default): requests wait on, until their deadlines, while the pool tries again with growing delays. `false`, as for a wrong password:
    /// whoever waits is told at once.
    fn is_retryable(&self, error: &Self::Error) -> bool {
        let _ = error;
        true
    }
}
