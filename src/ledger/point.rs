//! Each place at which the ledger is written, by name: whoever plays the power switch in a test stops
//! the process at one of them, and none can be forgotten, because [`Ledger::write`] asks for it.

use super::Ledger;

macro_rules! writes {
    ($($(#[$doc:meta])* $write:ident = $name:literal,)*) => {
        /// One kind of transaction.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Write {
            $($(#[$doc])* $write,)*
        }

        impl Write {
            pub const ALL: &'static [Write] = &[$(Write::$write,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Write::$write => $name,)*
                }
            }
        }
    };
}

writes! {
    Creating = "creating",
    Created = "created",
    Discarded = "discarded",
    SeenStarted = "seen-started",
    ArmFailed = "arm-failed",
    ArmSucceeded = "arm-succeeded",
    Intend = "intend",
    IntendExec = "intend-exec",
    Started = "started",
    NeverRan = "never-ran",
    RequestStop = "request-stop",
    RequestCancel = "request-cancel",
    Finish = "finish",
    ContainerGone = "container-gone",
    Release = "release",
    GiveUpRetry = "give-up-retry",
    Record = "record",
    Hold = "hold",
    Adopt = "adopt",
    Settle = "settle",
    UpsertJob = "upsert-job",
    RemoveJob = "remove-job",
    GiveBack = "give-back",
    ForgetBaselines = "forget-baselines",
    Pause = "pause",
    Resume = "resume",
    BindEngine = "bind-engine",
    RebindEngine = "rebind-engine",
    Supersede = "supersede",
    SetDirectory = "set-directory",
    Heartbeat = "heartbeat",
    NoteGap = "note-gap",
    Compact = "compact",
    IntendAtOnce = "intend-at-once",
    Launched = "launched",
    Follow = "follow",
    Advance = "advance",
    Pulled = "pulled",
}

/// On which side of the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Nothing of it is on disk.
    Before,
    /// All of it is, and the caller does not know yet.
    After,
}

/// Told of each write, twice.
pub type Tap = Box<dyn Fn(Write, Side) + Send + Sync>;

impl Ledger {
    /// Tells `tap` of every write through this handle from now on. It may unwind, and that is what it is
    /// for: nothing of this process then goes on. The first tap stays.
    pub fn on_write(&self, tap: Tap) {
        drop(self.tap.set(tap));
    }

    pub(super) fn tell(&self, write: Write, side: Side) {
        if let Some(tap) = self.tap.get() {
            tap(write, side);
        }
    }
}
