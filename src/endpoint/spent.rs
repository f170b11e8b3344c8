//! Sign-ins whose code was sent to its provider: a code is sent once, since a provider that sees it twice takes back what
//! it gave the first time (RFC 6749 section 4.1.2).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::login_state::FlowId;

/// How many are remembered: those of the last ten minutes, at several a second. A sign-in that was forgotten is no danger,
/// since its provider refuses its code by itself.
const MOST: usize = 4096;

/// See the file's first lines. Only sign-ins whose sealed cookie came back get here.
#[derive(Debug, Default)]
pub struct Spent(Mutex<VecDeque<FlowId>>);

impl Spent {
    /// Whether this is the first time; it is not from now on.
    pub(super) fn spend(&self, id: &FlowId) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.contains(id) {
            return false;
        }
        if spent.len() >= MOST {
            spent.pop_front();
        }
        spent.push_back(id.clone());
        true
    }

    /// The code never reached the provider: it may be sent again.
    pub(super) fn give_back(&self, id: &FlowId) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|other| other != id);
    }
}

#[cfg(test)]
mod tests {
    //! Once, and again only when given back.
    #![expect(
        clippy::unwrap_used,
        reason = "a test that can't be set up should fail"
    )]

    use super::*;

    #[test]
    fn a_sign_in_is_spent_once() {
        let spent = Spent::default();
        let (a, b) = (FlowId::random().unwrap(), FlowId::random().unwrap());
        assert!(spent.spend(&a));
        assert!(!spent.spend(&a));
        assert!(spent.spend(&b));
        spent.give_back(&a);
        assert!(spent.spend(&a));
        assert!(!spent.spend(&b));
    }

    #[test]
    fn the_memory_is_bounded() {
        let spent = Spent::default();
        for _ in 0..MOST + 10 {
            assert!(spent.spend(&FlowId::random().unwrap()));
        }
        assert_eq!(spent.0.lock().unwrap().len(), MOST);
    }
}
