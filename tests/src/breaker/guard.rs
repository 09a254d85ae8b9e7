//! How a scenario uses the breaker. Every use goes through here, so a test can put a fault between the two.

use std::future::Future;
use std::time::Duration;

use steadfast_breaker::ledger::Standing;
use steadfast_breaker::{
    Breaker, CallError, Config, Ended, Event, InvalidConfig, Outcome, Permit, Rejected, Request, Scope,
    Settlement,
};

use super::dependency::Injected;

/// Passes everything on to the breaker, unless a test says otherwise.
pub trait Guard: Clone + Send + Sync + 'static {
    /// Returns how long a scenario waits for what should happen, where it would wait for `longest`.
    /// A test shortens the wait for what its fault keeps from happening.
    fn wait_max(&self, longest: Duration) -> Duration {
        longest
    }

    /// How the breaker is made.
    fn config(&self, config: Config) -> Config {
        config
    }

    /// A call by closure.
    ///
    /// # Errors
    /// As the breaker's.
    #[inline]
    fn call<T>(
        &self,
        breaker: &Breaker,
        call: impl FnOnce() -> Result<T, Injected>,
    ) -> Result<T, CallError<Injected>> {
        breaker.call(call)
    }

    /// An awaited call.
    ///
    /// # Errors
    /// As the breaker's.
    ///
    /// # Cancel safety
    /// As the breaker's.
    #[inline]
    fn call_async<T, F>(
        &self,
        breaker: &Breaker,
        call: impl FnOnce() -> F + Send,
    ) -> impl Future<Output = Result<T, CallError<Injected>>> + Send
    where
        T: Send,
        F: Future<Output = Result<T, Injected>> + Send,
    {
        breaker.call_async(call)
    }

    /// An explicit permit.
    ///
    /// # Errors
    /// As the breaker's.
    #[inline]
    fn acquire<'a>(&self, breaker: &'a Breaker, request: &Request<'a>) -> Result<Permit<'a>, Rejected> {
        breaker.try_acquire(request)
    }

    /// A permit's end.
    #[inline]
    fn settle(&self, permit: Permit<'_>, outcome: Outcome, settlement: Settlement) -> Ended {
        permit.settle(outcome, settlement)
    }

    /// What becomes of an event on its way to whoever listens.
    fn tell(&self, event: &Event, listener: &dyn Fn(&Event)) {
        listener(event);
    }

    /// How a limit stands.
    fn standing(&self, scope: &Scope, limit: usize) -> Option<Standing> {
        scope.standing(limit)
    }

    /// A limit that is changed.
    ///
    /// # Errors
    /// As the scope's.
    fn set_limit(&self, scope: &Scope, limit: usize, nano: u64) -> Result<(), InvalidConfig> {
        scope.set_limit(limit, nano)
    }
}

/// The breaker as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Guard for Plain {}
