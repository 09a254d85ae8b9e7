//! A persistent vector: a radix tree with 32 children a node, appended in place.
//!
//! A clone costs one reference count and keeps its elements for ever, whatever happens to the
//! original. Replacing an element copies the path to it (unless nobody else holds it). Appending
//! copies nothing: the new element is set into an empty slot of a leaf that older clones share;
//! they don't look there, since each clone has a length of its own. Should two clones both append,
//! the second one to reach a slot finds it filled and copies the leaf.

use std::sync::{Arc, OnceLock};

const BITS: u32 = 5;
const WIDTH: usize = 1 << BITS;

/// A persistent vector. See the module's text.
#[derive(Debug)]
pub(crate) struct Radix<T> {
    root: Option<Node<T>>,
    /// Levels of branches above the leaves.
    height: u32,
    len: usize,
}

#[derive(Debug)]
enum Node<T> {
    Branch(Arc<[OnceLock<Node<T>>; WIDTH]>),
    Leaf(Arc<[OnceLock<T>; WIDTH]>),
}

impl<T> Clone for Radix<T> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), height: self.height, len: self.len }
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Branch(children) => Self::Branch(Arc::clone(children)),
            Self::Leaf(slots) => Self::Leaf(Arc::clone(slots)),
        }
    }
}

impl<T> Default for Radix<T> {
    fn default() -> Self {
        Self { root: None, height: 0, len: 0 }
    }
}

fn digit(index: usize, level: u32) -> usize {
    (index >> (BITS * level)) & (WIDTH - 1)
}

fn empty<T>() -> Arc<[OnceLock<T>; WIDTH]> {
    Arc::new([const { OnceLock::new() }; WIDTH])
}

impl<T> Radix<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        let mut node = self.root.as_ref()?;
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(slots) => return slots[digit(index, 0)].get(),
                Node::Branch(children) => node = children[digit(index, level)].get()?,
            }
            level -= 1;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).map_while(|index| self.get(index))
    }
}

impl<T: Clone> Radix<T> {
    pub(crate) fn push(&mut self, value: T) {
        let index = self.len;
        match &mut self.root {
            None => self.root = Some(Self::spine(0, value)),
            Some(_) if index == WIDTH << (BITS * self.height) => {
                let old = self.root.take().expect("it was there a line ago");
                let children = empty();
                assert!(
                    children[0].set(old).is_ok() && children[1].set(Self::spine(self.height, value)).is_ok()
                );
                self.root = Some(Node::Branch(children));
                self.height += 1;
            }
            Some(root) => root.push(index, self.height, value),
        }
        self.len += 1;
    }

    /// Replaces the element at `index`, which must be there.
    pub(crate) fn replace(&mut self, index: usize, value: T) {
        assert!(index < self.len, "element {index} of {}", self.len);
        let mut node = self.root.as_mut().expect("a vector with elements has a root");
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(slots) => {
                    *Arc::make_mut(slots)[digit(index, 0)].get_mut().expect("below the length all is set") =
                        value;
                    return;
                }
                Node::Branch(children) => {
                    let child = Arc::make_mut(children)[digit(index, level)].get_mut();
                    node = child.expect("below the length all is set");
                }
            }
            level -= 1;
        }
    }

    /// A node of `level` whose first element is `value` and which has no other.
    fn spine(level: u32, value: T) -> Node<T> {
        if level == 0 {
            let slots = empty();
            assert!(slots[0].set(value).is_ok());
            return Node::Leaf(slots);
        }
        let children = empty();
        assert!(children[0].set(Self::spine(level - 1, value)).is_ok());
        Node::Branch(children)
    }
}

impl<T: Clone> Node<T> {
    /// Appends the element `index` to the subtree, which has room for it.
    fn push(&mut self, index: usize, level: u32, value: T) {
        let at = digit(index, level);
        match self {
            Self::Leaf(slots) => {
                if let Err(value) = slots[at].set(value) {
                    *slots = Self::diverge(slots, at, value);
                }
            }
            // Aligned: the element begins a new child.
            Self::Branch(children) if index & ((1 << (BITS * level)) - 1) == 0 => {
                if let Err(child) = children[at].set(Radix::spine(level - 1, value)) {
                    *children = Self::diverge(children, at, child);
                }
            }
            Self::Branch(children) => {
                let child = children[at].get().expect("an element before this one is in it");
                let mut next = child.clone();
                next.push(index, level - 1, value);
                if !next.is(child) {
                    *Arc::make_mut(children)[at].get_mut().expect("it was there") = next;
                }
            }
        }
    }

    /// A copy of the first `keep` slots with another element behind them.
    fn diverge<E: Clone>(slots: &[OnceLock<E>; WIDTH], keep: usize, next: E) -> Arc<[OnceLock<E>; WIDTH]> {
        let copy = empty();
        for (from, to) in slots[..keep].iter().zip(copy.iter()) {
            assert!(to.set(from.get().expect("below the length all is set").clone()).is_ok());
        }
        assert!(copy[keep].set(next).is_ok());
        copy
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(a), Self::Leaf(b)) => Arc::ptr_eq(a, b),
            (Self::Branch(a), Self::Branch(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents(radix: &Radix<u32>) -> Vec<u32> {
        radix.iter().copied().collect()
    }

    #[test]
    fn grows_over_three_levels() {
        let mut radix = Radix::default();
        for i in 0..40_000_u32 {
            radix.push(i);
        }
        assert_eq!(contents(&radix), (0..40_000).collect::<Vec<_>>());
        assert_eq!(radix.get(40_000), None);
    }

    #[test]
    fn two_clones_that_both_append_do_not_meet() {
        for shared in [0, 1, 31, 32, 33, 1023, 1024, 1025, 1056] {
            let mut a = Radix::default();
            (0..shared).for_each(|i| a.push(i));
            let mut b = a.clone();
            (0..70).for_each(|i| a.push(1_000_000 + i));
            (0..70).for_each(|i| b.push(2_000_000 + i));
            let expect = |base: u32| (0..shared).chain((0..70).map(move |i| base + i)).collect::<Vec<_>>();
            assert_eq!(contents(&a), expect(1_000_000), "{shared} shared");
            assert_eq!(contents(&b), expect(2_000_000), "{shared} shared");
        }
    }

    proptest! {
        /// A naive vector of vectors is the model: every clone ever made keeps its contents.
        #[test]
        fn behaves_like_cloned_vectors(steps in prop::collection::vec((0_u8..10, any::<u32>()), 1..400)) {
            let mut all = vec![(Radix::default(), Vec::new())];
            for (kind, number) in steps {
                let at = number as usize % all.len();
                match kind {
                    0 => {
                        let copy = all[at].clone();
                        all.push(copy);
                    }
                    1..=3 => {
                        let (radix, model) = &mut all[at];
                        if !model.is_empty() {
                            let index = number as usize % model.len();
                            radix.replace(index, number);
                            model[index] = number;
                        }
                    }
                    _ => {
                        let (radix, model) = &mut all[at];
                        for i in 0..number % 40 {
                            radix.push(i);
                            model.push(i);
                        }
                    }
                }
            }
            for (radix, model) in &all {
                prop_assert_eq!(radix.len(), model.len());
                prop_assert_eq!(&contents(radix), model);
            }
        }
    }
}
