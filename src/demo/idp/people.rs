//! The people that the development identity provider knows.

/// Someone who can sign in.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// What one picks: `preferred_username`.
    pub name: &'static str,
    /// `sub`. Not the name, so that mixing the two up shows.
    pub subject: &'static str,
    /// `name`.
    pub full_name: &'static str,
    /// `groups`.
    pub groups: &'static [&'static str],
    /// Whether a plain sign-in is too weak for what they do, so that a step-up is asked for.
    pub needs_step_up: bool,
    /// What the sign-in page says of them.
    pub about: &'static str,
}

/// Everyone.
pub const PEOPLE: [Person; 4] = [
    Person {
        name: "alice",
        subject: "u-alice",
        full_name: "Alice Adler",
        groups: &["admins", "staff"],
        needs_step_up: false,
        about: "an administrator: may go everywhere",
    },
    Person {
        name: "bob",
        subject: "u-bob",
        full_name: "Bob Berger",
        groups: &["staff"],
        needs_step_up: false,
        about: "staff: may not go to /admin",
    },
    Person {
        name: "carol",
        subject: "u-carol",
        full_name: "Carol Conti",
        groups: &[],
        needs_step_up: false,
        about: "in no group: sees a 403 where a group is asked for",
    },
    Person {
        name: "dave",
        subject: "u-dave",
        full_name: "Dave Dubois",
        groups: &["staff"],
        needs_step_up: true,
        about: "staff: signs in weakly, has to confirm for more",
    },
];

impl Person {
    /// By name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PEOPLE.iter().find(|person| person.name == name)
    }

    /// By subject.
    pub fn of_subject(subject: &str) -> Option<&'static Self> {
        PEOPLE.iter().find(|person| person.subject == subject)
    }

    /// The e-mail address.
    pub fn email(&self) -> String {
        format!("{}@example.com", self.name)
    }
}
