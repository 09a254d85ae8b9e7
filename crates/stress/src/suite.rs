//! Suites: scenarios of different types in one list.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::checks::Checks;
use crate::context::Context;
use crate::failure::Failure;
use crate::load::{self, Load, Ran, Reduction, Stop};
use crate::record::Recorder;
use crate::scenario::{Call, Scenario, Tally};
use crate::target::Target;

/// A named list of scenarios.
///
/// ```no_run
/// # use steadfast_stress::{Call, Context, Failure, Load, Scenario, Suite};
/// # struct Ping;
/// # impl Scenario for Ping {
/// #     type State = ();
/// #     fn name(&self) -> &str { "ping" }
/// #     fn description(&self) -> &str { "does nothing" }
/// #     fn load(&self) -> Load { Load::users(1).each(1) }
/// #     async fn set_up(&self, _: &Context) -> Result<(), Failure> { Ok(()) }
/// #     async fn operation(&self, _: &(), _: Call) -> Result<(), Failure> { Ok(()) }
/// # }
/// fn main() -> std::process::ExitCode {
///     steadfast_stress::main([Suite::new("service", "my own service").scenario(Ping)])
/// }
/// ```
pub struct Suite {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) scenarios: Vec<Box<dyn Registered>>,
}

impl Suite {
    /// A suite without scenarios. Its name is the first half of theirs: lower-case letters, digits and `_`.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into(), scenarios: Vec::new() }
    }

    /// Adds a scenario.
    #[must_use]
    pub fn scenario(mut self, scenario: impl Scenario) -> Self {
        self.scenarios.push(Box::new(Arc::new(scenario)));
        self
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.scenarios.iter().map(|scenario| scenario.name()).collect();
        f.debug_struct("Suite").field("name", &self.name).field("scenarios", &names).finish()
    }
}

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A scenario whose type is forgotten. Only the stages are boxed; the loop of operations stays generic inside.
pub(crate) trait Registered: Send + Sync {
    fn name(&self) -> &str;
    fn description(&self) -> &str;
    fn load(&self) -> Load;
    fn smoke(&self) -> Reduction;
    fn extreme(&self) -> Load;
    fn soak(&self, duration: Duration) -> Option<Load>;
    fn objectives(&self) -> Vec<&str>;
    fn set_up<'a>(&'a self, context: &'a Context) -> Boxed<'a, Result<Box<dyn Ready>, Failure>>;
}

/// A scenario that has been set up.
pub(crate) trait Ready: Send + Sync {
    fn load<'a>(
        &'a self,
        load: &'a Load,
        seed: u64,
        recorder: Arc<Recorder>,
        stop: Stop,
    ) -> Boxed<'a, std::io::Result<Ran>>;
    fn check<'a>(&'a self, tally: &'a Tally, checks: &'a mut Checks) -> Boxed<'a, Result<(), Failure>>;
    fn tear_down(self: Box<Self>) -> Boxed<'static, Result<(), Failure>>;
}

struct WithState<S: Scenario>(Arc<Pair<S>>);

struct Pair<S: Scenario> {
    scenario: Arc<S>,
    state: S::State,
}

impl<S: Scenario> Target for Pair<S> {
    fn call(&self, call: Call) -> impl Future<Output = Result<(), Failure>> + Send {
        self.scenario.operation(&self.state, call)
    }
}

impl<S: Scenario> Registered for Arc<S> {
    fn name(&self) -> &str {
        S::name(self)
    }
    fn description(&self) -> &str {
        S::description(self)
    }
    fn load(&self) -> Load {
        S::load(self)
    }
    fn smoke(&self) -> Reduction {
        S::smoke(self)
    }
    fn extreme(&self) -> Load {
        S::extreme(self)
    }
    fn soak(&self, duration: Duration) -> Option<Load> {
        S::soak(self, duration)
    }
    fn objectives(&self) -> Vec<&str> {
        S::objectives(self)
    }
    fn set_up<'a>(&'a self, context: &'a Context) -> Boxed<'a, Result<Box<dyn Ready>, Failure>> {
        Box::pin(async move {
            let state = S::set_up(self, context).await?;
            let ready = WithState(Arc::new(Pair { scenario: Arc::clone(self), state }));
            Ok(Box::new(ready) as Box<dyn Ready>)
        })
    }
}

impl<S: Scenario> Ready for WithState<S> {
    fn load<'a>(
        &'a self,
        load: &'a Load,
        seed: u64,
        recorder: Arc<Recorder>,
        stop: Stop,
    ) -> Boxed<'a, std::io::Result<Ran>> {
        Box::pin(load::run(load, seed, Arc::clone(&self.0), recorder, stop))
    }

    fn check<'a>(&'a self, tally: &'a Tally, checks: &'a mut Checks) -> Boxed<'a, Result<(), Failure>> {
        Box::pin(async move { self.0.scenario.check(&self.0.state, tally, checks).await })
    }

    fn tear_down(self: Box<Self>) -> Boxed<'static, Result<(), Failure>> {
        Box::pin(async move {
            // All users have been joined, so this is the only handle.
            let Some(Pair { scenario, state }) = Arc::into_inner(self.0) else {
                return Err(Failure::new("tear-down", "the state is still in use"));
            };
            scenario.tear_down(state).await
        })
    }
}
