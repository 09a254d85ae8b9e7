//! The kernel of the keyed pool: which addresses there are, and how each stands. No runtime, no I/O, no clock of its own.
//!
//! One lock guards the table. An address is at one [`Phase`] at a time; who takes it from `Cold` to `Dialling` gets the [`Order`] to dial, and nobody else does until the order has ended. An order
//! names its generation: `add` begins one, `remove` ends it, and what a dial of another generation comes to goes nowhere.
//!
//! Whoever waits for a dial waits for its [`Event`] and then looks again, under the lock: so what is handed out is always the table's present connection.
//!
//! How many use a connection is the number of its handles. It is dropped with the last one, and then whoever waits for it to be drained is woken.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Poll, Waker};

use crate::slots::Nanos;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};

/// Something that happens once: the end of a dial, of a connection, of waiting for any of them.
pub(crate) struct Event<F> {
    state: Mutex<Happening<F>>,
}

struct Happening<F> {
    happened: bool,
    failure: Option<F>,
    wakers: Vec<Option<Waker>>,
}

/// A place among those who wait for an event.
pub(crate) struct Seat(Option<usize>);

impl Seat {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl<F: Clone> Event<F> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(Happening { happened: false, failure: None, wakers: Vec::new() }) })
    }

    /// It happened, with a failure or without. Only the first time counts.
    pub(crate) fn happen(&self, failure: Option<F>) {
        let wakers = {
            let mut state = lock(&self.state);
            if state.happened {
                return;
            }
            state.happened = true;
            state.failure = failure;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// What happened, or `waker` is kept in `seat`.
    pub(crate) fn poll(&self, seat: &mut Seat, waker: &Waker) -> Poll<Option<F>> {
        // Cloning may run anything, so not under the lock.
        let waker = waker.clone();
        let mut state = lock(&self.state);
        if state.happened {
            return Poll::Ready(state.failure.clone());
        }
        let free = || state.wakers.iter().position(Option::is_none).unwrap_or(state.wakers.len());
        let at = seat.0.unwrap_or_else(free);
        seat.0 = Some(at);
        if at == state.wakers.len() {
            state.wakers.push(None);
        }
        let old = state.wakers[at].replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(crate) fn leave(&self, seat: &mut Seat) {
        let waker = seat.0.take().and_then(|at| lock(&self.state).wakers.get_mut(at).and_then(Option::take));
        drop(waker);
    }
}

/// A connection that is shared. Every handle is one more user, apart from the table's own.
pub(crate) struct Live<C, F: Clone> {
    pub(crate) connection: C,
    pub(crate) address: Box<str>,
    pub(crate) generation: u64,
    /// Set by whoever finds it broken.
    broken: AtomicBool,
    /// The last field: the connection goes first.
    gone: Gone<F>,
}

struct Gone<F: Clone>(Arc<Event<F>>);

impl<F: Clone> Drop for Gone<F> {
    fn drop(&mut self) {
        self.0.happen(None);
    }
}

impl<C, F: Clone> Live<C, F> {
    pub(crate) fn mark_broken(&self) {
        // Release: partner of the load in `is_broken`; what the one who found out did before comes before the next dial.
        self.broken.store(true, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        // Acquire: partner of the store in `mark_broken`.
        self.broken.load(Ordering::Acquire)
    }
}

/// The right and the duty to dial for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) address: Box<str>,
    pub(crate) generation: u64,
}

enum Phase<C, F: Clone> {
    /// Nobody has asked yet, or the connection was found broken.
    Cold,
    Dialling,
    Live(Arc<Live<C, F>>),
    /// The last dial failed. Who holds the order sleeps, and tries again at this time.
    Failing {
        failure: F,
        retry_at: Nanos,
    },
}

struct Entry<C, F: Clone> {
    address: Box<str>,
    generation: u64,
    phase: Phase<C, F>,
    /// The end of the dial under way, or of the next one.
    dialled: Arc<Event<F>>,
    failures: u32,
    /// Wakes who holds the order, should it be withdrawn.
    dialler: Option<Waker>,
}

/// What looking up an address shows.
pub(crate) enum Found<C, F: Clone> {
    Live(Arc<Live<C, F>>),
    /// Wait for the event and look again; with an order, dial.
    Wait(Arc<Event<F>>, Option<Order>),
    Failing(F, Nanos),
    Unknown,
    Closed,
}

/// What was picked from all addresses.
pub(crate) struct Picked<C, F: Clone> {
    pub(crate) found: Found<C, F>,
    /// Addresses to dial for, so that the next one has more to choose from.
    pub(crate) orders: Vec<Order>,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Not connected; the next request connects.
    Cold,
    /// A dial is under way.
    Dialling,
    /// Connected.
    Live,
    /// The last dial failed; it is tried again in the background.
    Failing,
}

/// An address, as it stands at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressStatus {
    /// The address.
    pub address: String,
    /// Which addition of it this is; numbers aren't used again.
    pub generation: u64,
    /// Whether it is connected.
    pub state: AddressState,
    /// Handles that are out.
    pub in_flight: usize,
    /// Failed dials in a row.
    pub failures: u32,
}

/// Counts of the whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) dials: u64,
    pub(crate) dial_failures: u64,
    pub(crate) connected: u64,
    pub(crate) dialling: usize,
}

struct State<C, F: Clone> {
    entries: Vec<Entry<C, F>>,
    places: HashMap<Box<str>, usize, BuildHasherDefault<AddressHasher>>,
    generation: u64,
    /// Where the next choice begins among equals.
    turn: usize,
    /// The next dial that succeeds, of whatever address.
    any: Arc<Event<F>>,
    totals: Totals,
    closed: bool,
}

/// The kernel.
pub(crate) struct Table<C, F: Clone> {
    state: Mutex<State<C, F>>,
}

/// What `remove` took out.
pub(crate) struct Removed<C, F: Clone> {
    pub(crate) live: Option<Arc<Live<C, F>>>,
    /// Happens when the connection is gone; none if there was none.
    pub(crate) gone: Option<Arc<Event<F>>>,
    pub(crate) generation: u64,
    dialled: Arc<Event<F>>,
    dialler: Option<Waker>,
}

impl<C, F: Clone> Removed<C, F> {
    /// Tells everybody who is concerned, and lets go of the table's handle.
    fn tell(&mut self) {
        if let Some(waker) = self.dialler.take() {
            waker.wake();
        }
        self.dialled.happen(None);
    }
}

impl<C, F: Clone> Entry<C, F> {
    /// The order to dial, if nobody has it.
    fn order(&mut self, totals: &mut Totals, stale: &mut Vec<Arc<Live<C, F>>>) -> Option<Order> {
        match &self.phase {
            Phase::Live(live) if live.is_broken() => {}
            Phase::Cold => {}
            Phase::Live(_) | Phase::Dialling | Phase::Failing { .. } => return None,
        }
        if let Phase::Live(broken) = std::mem::replace(&mut self.phase, Phase::Dialling) {
            stale.push(broken);
        }
        totals.dials += 1;
        totals.dialling += 1;
        Some(Order { address: self.address.clone(), generation: self.generation })
    }
}

impl<C, F: Clone> State<C, F> {
    /// The entry that an order is about, unless it was removed since.
    fn ordered(&mut self, order: &Order) -> Option<&mut Entry<C, F>> {
        let place = *self.places.get(&*order.address)?;
        let entry = &mut self.entries[place];
        (entry.generation == order.generation).then_some(entry)
    }
}

impl<C, F: Clone> Table<C, F> {
    pub(crate) fn new() -> Self {
        let state = State {
            entries: Vec::new(),
            places: HashMap::default(),
            generation: 0,
            turn: 0,
            any: Event::new(),
            totals: Totals::default(),
            closed: false,
        };
        Self { state: Mutex::new(state) }
    }

    /// Adds an address. `None` if the table is closed; the present generation, as an error, if it is there.
    pub(crate) fn add(&self, address: &str) -> Option<Result<u64, u64>> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        if let Some(&place) = state.places.get(address) {
            return Some(Err(state.entries[place].generation));
        }
        state.generation += 1;
        state.totals.added += 1;
        let generation = state.generation;
        let place = state.entries.len();
        state.places.insert(address.into(), place);
        state.entries.push(Entry {
            address: address.into(),
            generation,
            phase: Phase::Cold,
            dialled: Event::new(),
            failures: 0,
            dialler: None,
        });
        // Who waits for any connection may get one here.
        let any = std::mem::replace(&mut state.any, Event::new());
        drop(state);
        any.happen(None);
        Some(Ok(generation))
    }

    /// Removes an address. From here on nothing of its generation is handed out.
    pub(crate) fn remove(&self, address: &str) -> Option<Removed<C, F>> {
        let mut state = lock(&self.state);
        let place = state.places.remove(address)?;
        let entry = state.entries.swap_remove(place);
        if let Some(moved) = state.entries.get(place) {
            let address = moved.address.clone();
            state.places.insert(address, place);
        }
        state.totals.removed += 1;
        if matches!(entry.phase, Phase::Dialling) {
            state.totals.dialling -= 1;
        }
        drop(state);
        let mut removed = entry.into_removed();
        removed.tell();
        Some(removed)
    }

    /// The connection of an address, or what to do for it; an order only for who `dials`.
    #[inline]
    pub(crate) fn look_up(&self, address: &str, dials: bool) -> Found<C, F> {
        let mut stale = Vec::new();
        let mut state = lock(&self.state);
        let State { entries, places, totals, closed, .. } = &mut *state;
        if *closed {
            return Found::Closed;
        }
        let Some(&place) = places.get(address) else { return Found::Unknown };
        let entry = &mut entries[place];
        if let Phase::Live(live) = &entry.phase
            && !live.is_broken()
        {
            return Found::Live(Arc::clone(live));
        }
        if let Phase::Failing { failure, retry_at } = &entry.phase {
            return Found::Failing(failure.clone(), *retry_at);
        }
        let order = if dials { entry.order(totals, &mut stale) } else { None };
        let found = Found::Wait(Arc::clone(&entry.dialled), order);
        drop(state);
        drop(stale);
        found
    }

    /// The connection that the fewest use, in turn among equals. Addresses that aren't connected are ordered to be if the caller `dials`.
    pub(crate) fn pick(&self, dials: bool) -> Picked<C, F> {
        let (mut orders, mut stale) = (Vec::new(), Vec::new());
        let mut state = lock(&self.state);
        let State { entries, totals, turn, any, closed, .. } = &mut *state;
        if *closed {
            return Picked { found: Found::Closed, orders };
        }
        let mut best: Option<(usize, usize)> = None;
        let count = entries.len();
        for step in 0..count {
            let place = (*turn + step) % count;
            let entry = &mut entries[place];
            match &entry.phase {
                Phase::Live(live) if !live.is_broken() => {
                    let users = Arc::strong_count(live);
                    if best.is_none_or(|(_, fewest)| users < fewest) {
                        best = Some((place, users));
                    }
                }
                _ if dials => orders.extend(entry.order(totals, &mut stale)),
                _ => {}
            }
        }
        let found = match best.map(|(place, _)| (place, &entries[place].phase)) {
            Some((place, Phase::Live(live))) => {
                *turn = place + 1;
                Found::Live(Arc::clone(live))
            }
            _ if count == 0 => Found::Unknown,
            _ => Found::Wait(Arc::clone(any), None),
        };
        drop(state);
        drop(stale);
        Picked { found, orders }
    }

    /// Whether an order still stands. If so, `waker` is woken should it be withdrawn.
    pub(crate) fn stands(&self, order: &Order, waker: Waker) -> bool {
        let mut state = lock(&self.state);
        let Some(entry) = state.ordered(order) else { return false };
        let old = entry.dialler.replace(waker);
        drop(state);
        drop(old);
        true
    }

    /// An order came to a connection. It is given back if the order doesn't stand any more.
    pub(crate) fn dialled(&self, order: &Order, connection: C) -> Result<(), C> {
        let mut state = lock(&self.state);
        let Some(entry) = state.ordered(order) else { return Err(connection) };
        let gone = Gone(Event::new());
        let (address, generation) = (entry.address.clone(), entry.generation);
        let live = Live { connection, address, generation, broken: AtomicBool::new(false), gone };
        entry.phase = Phase::Live(Arc::new(live));
        entry.failures = 0;
        let waker = entry.dialler.take();
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        state.totals.dialling -= 1;
        state.totals.connected += 1;
        let any = std::mem::replace(&mut state.any, Event::new());
        drop(state);
        drop(waker);
        dialled.happen(None);
        any.happen(None);
        Ok(())
    }

    /// An order came to nothing. Its holder keeps it, and tries again at the time returned; none if the order doesn't stand any more.
    pub(crate) fn failed(
        &self,
        order: &Order,
        failure: F,
        now: Nanos,
        delay: impl Fn(u32) -> Nanos,
    ) -> Option<Nanos> {
        let mut state = lock(&self.state);
        state.totals.dial_failures += 1;
        let failures = state.ordered(order)?.failures.saturating_add(1);
        drop(state);
        // Random numbers need no lock, and nobody else has the order.
        let retry_at = now.saturating_add(delay(failures));
        let mut state = lock(&self.state);
        let entry = state.ordered(order)?;
        entry.failures = failures;
        entry.phase = Phase::Failing { failure: failure.clone(), retry_at };
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        state.totals.dialling -= 1;
        drop(state);
        dialled.happen(Some(failure));
        Some(retry_at)
    }

    /// The holder of an order tries again. `false` if it doesn't stand any more.
    pub(crate) fn try_again(&self, order: &Order) -> bool {
        let mut state = lock(&self.state);
        let Some(entry) = state.ordered(order) else { return false };
        let old = std::mem::replace(&mut entry.phase, Phase::Dialling);
        state.totals.dials += 1;
        state.totals.dialling += 1;
        drop(state);
        drop(old);
        true
    }

    /// The holder of an order is gone, with its runtime for one: whoever waits looks again, and one gets the order.
    pub(crate) fn abandoned(&self, order: &Order) {
        let mut state = lock(&self.state);
        let Some(entry) = state.ordered(order) else { return };
        let was_dialling = matches!(entry.phase, Phase::Dialling);
        let old = std::mem::replace(&mut entry.phase, Phase::Cold);
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        state.totals.dialling -= usize::from(was_dialling);
        let any = std::mem::replace(&mut state.any, Event::new());
        drop(state);
        drop(old);
        dialled.happen(None);
        any.happen(None);
    }

    /// Closes: every address is removed.
    pub(crate) fn close(&self) -> Vec<Removed<C, F>> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.places.clear();
        let entries = std::mem::take(&mut state.entries);
        state.totals.removed += entries.len() as u64;
        state.totals.dialling = 0;
        let any = std::mem::replace(&mut state.any, Event::new());
        drop(state);
        let mut all: Vec<_> = entries.into_iter().map(Entry::into_removed).collect();
        all.iter_mut().for_each(Removed::tell);
        any.happen(None);
        all
    }

    /// All addresses and the totals, of one moment.
    pub(crate) fn status(&self) -> (Vec<AddressStatus>, Totals) {
        let state = lock(&self.state);
        let told = |entry: &Entry<C, F>| {
            let (state, in_flight) = match &entry.phase {
                Phase::Cold => (AddressState::Cold, 0),
                Phase::Dialling => (AddressState::Dialling, 0),
                Phase::Live(live) => (AddressState::Live, Arc::strong_count(live) - 1),
                Phase::Failing { .. } => (AddressState::Failing, 0),
            };
            let (address, generation, failures) =
                (entry.address.to_string(), entry.generation, entry.failures);
            AddressStatus { address, generation, state, in_flight, failures }
        };
        (state.entries.iter().map(told).collect(), state.totals)
    }

    /// The failure of an address that is failing, for who waits for any.
    pub(crate) fn any_failure(&self) -> Option<F> {
        let state = lock(&self.state);
        state.entries.iter().find_map(|entry| match &entry.phase {
            Phase::Failing { failure, .. } => Some(failure.clone()),
            _ => None,
        })
    }
}

impl<C, F: Clone> Entry<C, F> {
    fn into_removed(self) -> Removed<C, F> {
        let live = match self.phase {
            Phase::Live(live) => Some(live),
            Phase::Cold | Phase::Dialling | Phase::Failing { .. } => None,
        };
        let gone = live.as_ref().map(|live| Arc::clone(&live.gone.0));
        Removed { live, gone, generation: self.generation, dialled: self.dialled, dialler: self.dialler }
    }
}

/// Addresses come from whoever set the pool up, so a quick hash will do: eight bytes a step, as in Firefox.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

impl AddressHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for AddressHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table looks at the highest bits as well as the lowest.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(all(test, steadfast_loom))]
mod loom_models;
