//! The scripts, each with what they share before it.

use redis::Script;

macro_rules! scripts {
    ($($name:ident)*) => {
        /// What the server runs, one for each method of the port.
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($name: Script::new(concat!(
                        include_str!("scripts/shared.lua"),
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    )),)*
                }
            }
        }
    };
}

scripts! {
    create_job extend claim renew complete release release_all hold set_phase finish retry forget
    job jobs counts heartbeat workers
}
