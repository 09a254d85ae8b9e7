//! The kernel of the keyed pool: which addresses there are, and how each stands. No runtime, no I/O, no clock of its own.
//!
//! One lock guards the table: look-ups share it, and choices are made one after the other, so that each sees how those before it were. An address is at one [`Phase`] at a time; who takes it to `Dialling` gets the [`Order`] to dial, and nobody else does until the order has ended. An order
//! names its generation and attempt: `add` begins a generation, `remove` ends it, and what a dial of another one comes to goes nowhere. Its holder says by when it is heard of next; if it
//! isn't (its runtime stands still), the next request gets an order of its own, and the old one is void.
//!
//! Whoever waits for a dial waits for its [`Event`] and then looks again, under the lock: so what is handed out is always the table's present connection.
//!
//! How many use a connection is the number of its handles. It is dropped with the last one, and then whoever waits for it to be drained is woken.

use std::task::Waker;

use crossbeam_utils::CachePadded;

use super::clock::Reading;
use super::entry::{Entry, Outgoing, Phase, Whole};
pub(crate) use super::entry::{Found, Live, Moment, Order, Removed, Rules, Why};
pub(crate) use super::event::{Event, Seat};
use super::lanes::Lanes;
use super::places::{Places, hash_of};
use super::status::{AddressStatus, Totals};
use crate::slots::Nanos;
use crate::sync::{Arc, AtomicU32, AtomicUsize, Ordering};

/// What a request that waited in vain is told, of its address or of all.
pub(crate) struct Vain<F> {
    /// What passed while it waited.
    pub(crate) passed: Reading,
    pub(crate) had_order: bool,
    pub(crate) had_turn: bool,
    /// Others who wait for the same.
    pub(crate) others: usize,
    pub(crate) last_failure: Option<F>,
    pub(crate) addresses: Vec<AddressStatus>,
}

/// Where a wait begins: the generation, none for all addresses, and what its clock shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    generation: Option<u64>,
    reading: Reading,
}

/// What a choice has to know of all addresses.
struct Survey {
    /// The place of the connection that the fewest use.
    best: Option<usize>,
    /// Whether an address could be ordered to be dialled.
    cold: bool,
    /// Whether one was.
    ordered: bool,
}

/// A choice that has connections to choose from looks for late orders every so often.
const PASSED_OVER_MAX: u32 = 64;

struct State<C, F: Clone> {
    places: Places,
    entries: Vec<Entry<C, F>>,
    /// Apart from what look-ups read.
    turns: CachePadded<Turns>,
    generation: u64,
    /// The next dial that succeeds, of whatever address.
    any: Arc<Event<F>>,
    whole: Whole<F>,
    closed: bool,
}

/// What choices change. Only one chooses at a time, and nobody while the table is written to.
#[derive(Default)]
struct Turns {
    /// Where the next choice begins among equals.
    next: AtomicUsize,
    /// Choices that passed over addresses with an order without asking whether it is late.
    passed_over: AtomicU32,
}

/// For those who choose, and for look-ups of so many threads at once; fewer in models, which try all orders.
const LANES: usize = if cfg!(steadfast_loom) { 1 + 2 } else { 1 + 8 };

/// The kernel.
pub(crate) struct Table<C, F: Clone> {
    state: Lanes<State<C, F>, LANES>,
}

impl<C, F: Clone> State<C, F> {
    #[inline]
    fn place(&self, address: &str, hash: u64) -> Option<usize> {
        self.places.find(hash, |place| *self.entries[place].address == *address)
    }

    /// The entry that an order is about, if the order still stands.
    fn ordered(&mut self, order: &Order) -> Option<(&mut Entry<C, F>, &mut Whole<F>)> {
        let place = self.place(&order.address, hash_of(&order.address))?;
        let entry = &mut self.entries[place];
        entry.stands(order).then_some((entry, &mut self.whole))
    }

    fn next_any(&mut self) -> Arc<Event<F>> {
        std::mem::replace(&mut self.any, Event::new())
    }
}

impl<C, F: Clone> Table<C, F> {
    pub(crate) fn new(rules: Rules) -> Self {
        let state = State {
            places: Places::new(),
            entries: Vec::new(),
            turns: CachePadded::default(),
            generation: 0,
            any: Event::new(),
            whole: Whole::new(rules),
            closed: false,
        };
        Self { state: Lanes::new(state) }
    }

    /// Adds an address. `None` if the table is closed; the present generation, as an error, if it is there.
    pub(crate) fn add(&self, address: &str) -> Option<Result<u64, u64>> {
        let hash = hash_of(address);
        let mut state = self.state.write();
        if state.closed {
            return None;
        }
        if let Some(place) = state.place(address, hash) {
            return Some(Err(state.entries[place].generation));
        }
        state.generation += 1;
        state.whole.totals.added += 1;
        let (generation, place) = (state.generation, state.entries.len());
        state.places.insert(hash, place);
        state.entries.push(Entry::new(address, hash, generation));
        // Who waits for any connection may get one here.
        let any = state.next_any();
        drop(state);
        any.happen(None);
        Some(Ok(generation))
    }

    /// Removes an address. From here on nothing of its generation is handed out.
    pub(crate) fn remove(&self, address: &str, now: Nanos) -> Option<Removed<C, F>> {
        let hash = hash_of(address);
        let mut state = self.state.write();
        let place = state.place(address, hash)?;
        state.places.remove(hash, place);
        let mut entry = state.entries.swap_remove(place);
        let State { places, entries, whole, .. } = &mut *state;
        if let Some(moved) = entries.get(place) {
            places.moved(moved.hash, entries.len(), place);
        }
        whole.totals.removed += 1;
        if matches!(entry.phase, Phase::Dialling) {
            entry.end_dial(whole, now);
            whole.totals.withdrawn += 1;
        }
        // Who waits for any connection hears that there will be none.
        let any = state.entries.is_empty().then(|| state.next_any());
        drop(state);
        let mut removed = entry.into_removed();
        removed.tell();
        if let Some(any) = any {
            any.happen(None);
        }
        Some(removed)
    }

    /// The connection of an address, if there is one: what most requests want, and nothing else.
    #[inline]
    pub(crate) fn live(&self, address: &str) -> Option<Arc<Live<C, F>>> {
        let hash = hash_of(address);
        let state = self.state.read();
        let place = state.place(address, hash)?;
        state.entries[place].live().cloned()
    }

    /// The connection of an address, or what to wait for; an order only for who `asks`.
    pub(crate) fn look_up(&self, address: &str, asks: Option<Moment>) -> (Found<C, F>, Option<Order>) {
        let hash = hash_of(address);
        // Many may ask for an address that is dialled or failing, and needn't hold up those who look for others.
        {
            let state = self.state.read();
            if state.closed {
                return (Found::Closed, None);
            }
            let Some(place) = state.place(address, hash) else { return (Found::Unknown, None) };
            let entry = &state.entries[place];
            let Some(asked) = asks else { return (entry.found(), None) };
            if !entry.can_be_ordered(asked) {
                return (entry.found(), None);
            }
        }
        let mut outgoing = Outgoing::new();
        let mut state = self.state.write();
        // All may have changed meanwhile.
        if state.closed {
            return (Found::Closed, None);
        }
        let Some(place) = state.place(address, hash) else { return (Found::Unknown, None) };
        let State { entries, whole, .. } = &mut *state;
        let entry = &mut entries[place];
        let order = asks.and_then(|asked| entry.order(whole, asked, &mut outgoing));
        let found = entry.found();
        drop(state);
        outgoing.let_go();
        (found, order)
    }

    /// The connection that the fewest use, in turn among equals; none for who `asks` if there may be something to order: [`Table::pick_or_order`] sees to it.
    #[inline]
    pub(crate) fn pick(&self, asks: bool) -> Option<Arc<Live<C, F>>> {
        let state = self.state.read_in_turn();
        let Survey { best, cold, ordered } = state.survey();
        let place = best?;
        if asks && (cold || ordered && state.is_time_to_ask()) {
            return None;
        }
        // Relaxed, here and below: whoever reads or changes it is alone with it, by a lock.
        state.turns.next.store(place + 1, Ordering::Relaxed);
        state.entries[place].live().cloned()
    }

    /// As [`Table::pick`], or what to wait for; orders for all addresses that aren't connected, for who `asks`.
    pub(crate) fn pick_or_order(&self, asks: Option<Moment>) -> (Found<C, F>, Vec<Order>) {
        let (mut orders, mut outgoing) = (Vec::new(), Outgoing::new());
        let mut state = self.state.write();
        if state.closed {
            return (Found::Closed, orders);
        }
        let best = state.survey().best;
        let live = best.and_then(|place| state.entries[place].live().cloned());
        let State { entries, whole, any, turns, .. } = &mut *state;
        if let Some(asked) = asks {
            orders.extend(entries.iter_mut().filter_map(|entry| entry.order(whole, asked, &mut outgoing)));
        }
        let found = match (live, best) {
            (Some(live), Some(place)) => {
                turns.next.store(place + 1, Ordering::Relaxed);
                Found::Live(live)
            }
            _ if entries.is_empty() => Found::Unknown,
            _ => {
                let due = entries.iter().map(|entry| entry.due).min();
                Found::Wait { event: Arc::clone(any), due: due.unwrap_or(Nanos::MAX) }
            }
        };
        drop(state);
        outgoing.let_go();
        (found, orders)
    }

    /// Whether an order still stands. If so, `waker` is woken should it be withdrawn, and its holder is heard of again until `due`.
    pub(crate) fn stands(&self, order: &Order, waker: Waker, due: Nanos) -> bool {
        let mut state = self.state.write();
        let Some((entry, _)) = state.ordered(order) else { return false };
        entry.due = due;
        let old = entry.dialler.replace(waker);
        drop(state);
        drop(old);
        true
    }

    /// The holder of an order has its turn of the budget.
    pub(crate) fn turn(&self, order: &Order, now: Nanos) {
        let mut state = self.state.write();
        if let Some((entry, whole)) = state.ordered(order) {
            entry.turn(whole, now);
        }
    }

    /// An order came to a connection. It is given back if the order doesn't stand any more.
    pub(crate) fn dialled(&self, order: &Order, connection: C, now: Nanos) -> Result<(), C> {
        let mut state = self.state.write();
        let Some((entry, whole)) = state.ordered(order) else { return Err(connection) };
        entry.end_dial(whole, now);
        whole.totals.connected += 1;
        entry.connected(connection, now);
        let waker = entry.dialler.take();
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        let any = state.next_any();
        drop(state);
        drop(waker);
        dialled.happen(None);
        any.happen(None);
        Ok(())
    }

    /// An order came to nothing. Its holder keeps it, and tries again at the time returned; none if the order doesn't stand any more.
    pub(crate) fn failed(&self, order: &Order, failure: F, moment: Moment) -> Option<Nanos> {
        let mut state = self.state.write();
        let (entry, whole) = state.ordered(order)?;
        entry.end_dial(whole, moment.now);
        whole.totals.dial_failures += 1;
        let (retry_at, old) = entry.failed(failure.clone(), whole.rules, moment);
        let old = (old, whole.last_failure.replace(failure.clone()));
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        drop(state);
        drop(old);
        dialled.happen(Some(failure));
        Some(retry_at)
    }

    /// The holder of an order tries again. `false` if it doesn't stand any more.
    pub(crate) fn try_again(&self, order: &Order, now: Nanos) -> bool {
        let mut state = self.state.write();
        let Some((entry, whole)) = state.ordered(order) else { return false };
        let old = entry.begin_dial(whole, now);
        drop(state);
        drop(old);
        true
    }

    /// The holder of an order is gone, with its runtime for one: whoever waits looks again, and one gets the order.
    pub(crate) fn abandoned(&self, order: &Order, now: Nanos) {
        let mut state = self.state.write();
        let Some((entry, whole)) = state.ordered(order) else { return };
        if matches!(entry.phase, Phase::Dialling) {
            entry.end_dial(whole, now);
            whole.totals.withdrawn += 1;
        }
        let old = std::mem::replace(&mut entry.phase, Phase::Cold);
        entry.due = Nanos::MAX;
        let waker = entry.dialler.take();
        let dialled = std::mem::replace(&mut entry.dialled, Event::new());
        let any = state.next_any();
        drop(state);
        drop((old, waker));
        dialled.happen(None);
        any.happen(None);
    }

    /// Closes: every address is removed.
    pub(crate) fn close(&self, now: Nanos) -> Vec<Removed<C, F>> {
        let mut state = self.state.write();
        state.closed = true;
        state.places.clear();
        let mut entries = std::mem::take(&mut state.entries);
        let whole = &mut state.whole;
        whole.totals.removed += entries.len() as u64;
        for entry in entries.iter_mut().filter(|entry| matches!(entry.phase, Phase::Dialling)) {
            entry.end_dial(whole, now);
            whole.totals.withdrawn += 1;
        }
        let any = state.next_any();
        drop(state);
        let mut all: Vec<_> = entries.into_iter().map(Entry::into_removed).collect();
        all.iter_mut().for_each(Removed::tell);
        any.happen(None);
        all
    }

    /// All addresses and the totals, of one moment.
    pub(crate) fn status(&self, now: Nanos) -> (Vec<AddressStatus>, Totals) {
        // Nobody is handed a connection meanwhile, so no more uses are told than there were at one time.
        let state = self.state.write();
        let State { entries, whole, .. } = &*state;
        (entries.iter().map(|entry| entry.told(whole.rules, now)).collect(), whole.totals)
    }

    /// Where a wait for an address begins, or for any.
    pub(crate) fn start(&self, address: Option<&str>, now: Nanos) -> Start {
        let state = self.state.read();
        let Some(address) = address else {
            return Start { generation: None, reading: state.whole.clock.read(now) };
        };
        let Some(place) = state.place(address, hash_of(address)) else {
            return Start { generation: Some(0), reading: Reading::default() };
        };
        let entry = &state.entries[place];
        Start { generation: Some(entry.generation), reading: entry.clock.read(now) }
    }

    /// What a request is told that waited in vain since `start`.
    pub(crate) fn in_vain(&self, address: Option<&str>, start: &Start, now: Nanos) -> Vain<F> {
        let state = self.state.read();
        let State { entries, whole, any, .. } = &*state;
        let of = |clock: &super::clock::Clock,
                  event: &Event<F>,
                  last_failure: &Option<F>,
                  entries: &[Entry<C, F>]| {
            // Of a generation that began meanwhile, all of its time passed while the request waited.
            let same =
                entries.len() != 1 || address.is_none() || start.generation == Some(entries[0].generation);
            let before = if same { start.reading } else { Reading::default() };
            Vain {
                passed: clock.read(now).since(before),
                had_order: clock.has_order(),
                had_turn: clock.has_turn(),
                others: event.waiting(),
                last_failure: last_failure.clone(),
                addresses: entries.iter().map(|entry| entry.told(whole.rules, now)).collect(),
            }
        };
        match address.map(|address| state.place(address, hash_of(address))) {
            Some(Some(place)) => {
                let entry = &entries[place];
                of(&entry.clock, &entry.dialled, &entry.last_failure, std::slice::from_ref(entry))
            }
            // Removed at this moment.
            Some(None) => Vain {
                passed: Reading::default(),
                had_order: false,
                had_turn: false,
                others: 0,
                last_failure: None,
                addresses: Vec::new(),
            },
            None => of(&whole.clock, any, &whole.last_failure, entries),
        }
    }
}

impl<C, F: Clone> State<C, F> {
    /// Looks at all addresses, from `turn` on.
    #[inline]
    fn survey(&self) -> Survey {
        let turn = self.turns.next.load(Ordering::Relaxed);
        let turn = if turn < self.entries.len() { turn } else { 0 };
        let (before, from) = self.entries.split_at(turn);
        let mut seen = Survey { best: None, cold: false, ordered: false };
        let mut fewest = usize::MAX;
        let mut look = |first: usize, entries: &[Entry<C, F>]| {
            for (at, entry) in entries.iter().enumerate() {
                match &entry.phase {
                    Phase::Live(live) if !live.is_broken() => {
                        let users = Arc::strong_count(live);
                        if users < fewest {
                            (seen.best, fewest) = (Some(first + at), users);
                        }
                    }
                    Phase::Live(_) | Phase::Cold => seen.cold = true,
                    Phase::Dialling | Phase::Failing { .. } => seen.ordered = true,
                }
            }
        };
        look(turn, from);
        look(0, before);
        seen
    }

    /// Whether somebody should read the clock and see if an order is late: once in a while will do where there are connections to choose from.
    fn is_time_to_ask(&self) -> bool {
        let passed_over = (self.turns.passed_over.load(Ordering::Relaxed) + 1) % PASSED_OVER_MAX;
        self.turns.passed_over.store(passed_over, Ordering::Relaxed);
        passed_over == 0
    }
}

#[cfg(all(test, steadfast_loom))]
mod loom_models;
