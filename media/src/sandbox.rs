//! What a started process is denied.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
};
use nix::sys::resource::{Resource, setrlimit};
use tokio::process::Command;

use crate::process::{Invocation, Limits};

/// The system's own folders, which any program needs to start: libraries, fonts, CPU topology.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/proc",
    "/sys/devices",
    "/dev",
];

/// The newest kernel interface that is asked for; older kernels grant what they can.
const LANDLOCK: ABI = ABI::V5;

/// Bounds that are put on a child between fork and exec.
#[derive(Debug)]
pub(crate) struct Sandbox {
    limits: Limits,
    /// `None` where the kernel has no Landlock: the other bounds hold all the same.
    rules: Option<RulesetCreated>,
    parent: nix::unistd::Pid,
}

impl Sandbox {
    pub(crate) fn new(invocation: &Invocation) -> Self {
        Self {
            limits: invocation.limits,
            rules: rules(invocation),
            parent: nix::unistd::getpid(),
        }
    }

    /// Arranges for the bounds to be in force before the program's first instruction.
    pub(crate) fn confine(self, command: &mut Command) {
        let Self {
            limits,
            rules,
            parent,
        } = self;
        let mut rules = rules;
        let before_exec = move || {
            // Dies with its parent, also when that is killed. The check closes the gap in which
            // the parent died before this was set.
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            let bounds = [
                (Resource::RLIMIT_CPU, limits.cpu.as_secs().max(1)),
                (Resource::RLIMIT_AS, limits.memory),
                (Resource::RLIMIT_FSIZE, limits.file_size),
                (Resource::RLIMIT_CORE, 0),
            ];
            for (resource, bound) in bounds {
                setrlimit(resource, bound, bound)?;
            }
            if let Some(rules) = rules.take() {
                // Best effort by design: what the kernel cannot enforce is no error.
                rules.restrict_self().ok();
            }
            Ok(())
        };
        #[expect(
            unsafe_code,
            reason = "limits must be set in the child before the program starts"
        )]
        // SAFETY: the closure runs in the child between fork and exec, where only
        // async-signal-safe calls are allowed. It makes prctl, getppid, setrlimit and Landlock
        // system calls on values made before the fork, and neither allocates nor takes locks.
        unsafe {
            command.pre_exec(before_exec);
        }
    }
}

/// Read the system and the named files, write the working folder, connect to the named port and no
/// other.
fn rules(invocation: &Invocation) -> Option<RulesetCreated> {
    let read = AccessFs::from_read(LANDLOCK);
    let everything = AccessFs::from_all(LANDLOCK);
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)
        .and_then(|rules| rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp))
        .and_then(Ruleset::create)
        .ok()?;
    let readable = SYSTEM
        .iter()
        .map(PathBuf::from)
        .chain(invocation.reads.iter().cloned());
    let libraries = std::env::var_os("LD_LIBRARY_PATH");
    let libraries = libraries.iter().flat_map(std::env::split_paths);
    let program = program_folder(&invocation.program);
    let mut rules = created;
    for path in readable.chain(libraries).chain(program) {
        rules = allow(rules, &path, read)?;
    }
    if let Some(url) = &invocation.connects {
        let port = NetPort::new(url.port(), AccessNet::ConnectTcp);
        rules = rules.add_rule(port).ok()?;
    }
    let rules = allow(rules, Path::new("/dev/null"), everything)?;
    allow(rules, &invocation.dir, everything)
}

/// Adds a path to the rules; one that does not exist needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Option<RulesetCreated> {
    let Ok(descriptor) = PathFd::new(path) else {
        return Some(rules);
    };
    let is_folder = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
    let access = if is_folder {
        access
    } else {
        access & AccessFs::from_file(LANDLOCK)
    };
    rules.add_rule(PathBeneath::new(descriptor, access)).ok()
}

/// The folder of a program outside the system's own, where its parts may lie beside it.
fn program_folder(program: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(program).ok()?;
    real.parent().map(Path::to_path_buf)
}
