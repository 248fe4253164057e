//! What a started process is denied.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use nix::sys::resource::{Resource, setrlimit};
use tokio::process::Command;

use crate::process::{Invocation, Limits};

/// The system's own folders, which any program needs to start: libraries, fonts, CPU topology.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/fonts",
    "/proc",
    "/sys/devices",
    "/dev/zero",
    "/dev/urandom",
];

/// Folders beside a program, or beside the `bin` that it is in, which hold its libraries.
const LIBRARIES: [&str; 4] = ["lib", "lib32", "lib64", "libs"];

/// The newest kernel interface that is asked for; older kernels grant what they can.
const LANDLOCK: ABI = ABI::V5;

/// Which of the rules about files and network this kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// A started process reads and writes what it was started for and nothing else.
    pub files: bool,
    /// It reaches no network.
    pub network: bool,
}

/// What the kernel at hand enforces on started processes; asked once.
pub fn confinement() -> Confinement {
    static CONFINEMENT: OnceLock<Confinement> = OnceLock::new();
    *CONFINEMENT.get_or_init(|| {
        let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let files = strict()
            .handle_access(AccessFs::from_all(ABI::V1))
            .and_then(Ruleset::create);
        let network = strict()
            .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)
            .and_then(Ruleset::create);
        let confinement = Confinement {
            files: files.is_ok(),
            network: network.is_ok(),
        };
        if confinement != (Confinement { files: true, network: true }) {
            tracing::warn!(
                files = confinement.files,
                network = confinement.network,
                "this kernel cannot keep ffmpeg from other files or from the network: use Linux 6.7 \
                 or newer with Landlock, or a container that holds nothing else"
            );
        }
        confinement
    })
}

/// Bounds that are put on a child between fork and exec.
#[derive(Debug)]
pub(crate) struct Sandbox {
    limits: Limits,
    /// `None` where the kernel has no Landlock: the other bounds hold all the same.
    rules: Option<RulesetCreated>,
    parent: nix::unistd::Pid,
}

impl Sandbox {
    /// # Errors
    /// The kernel refuses a rule that it should enforce: nothing is started without it.
    pub(crate) fn new(invocation: &Invocation) -> io::Result<Self> {
        let Confinement { files, network } = confinement();
        let rules = (files || network).then(|| rules(invocation)).transpose();
        Ok(Self {
            limits: invocation.limits,
            rules: rules.map_err(io::Error::other)?,
            parent: nix::unistd::getpid(),
        })
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
                return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            let cpu = limits.cpu.as_secs().max(1);
            let bounds = [
                // At the hard bound the kernel kills without saying why.
                (Resource::RLIMIT_CPU, cpu, cpu.saturating_add(2)),
                (Resource::RLIMIT_AS, limits.memory, limits.memory),
                (Resource::RLIMIT_FSIZE, limits.file_size, limits.file_size),
                (Resource::RLIMIT_CORE, 0, 0),
            ];
            for (resource, soft, hard) in bounds {
                setrlimit(resource, soft, hard)?;
            }
            if let Some(rules) = rules.take() {
                let refused = |_| io::Error::from_raw_os_error(nix::libc::EPERM);
                rules.restrict_self().map_err(refused)?;
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
fn rules(invocation: &Invocation) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(LANDLOCK);
    let everything = AccessFs::from_all(LANDLOCK);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .create()?;
    let readable = SYSTEM
        .iter()
        .map(PathBuf::from)
        .chain(invocation.reads.iter().cloned());
    let libraries = std::env::var_os("LD_LIBRARY_PATH");
    let libraries = libraries.iter().flat_map(std::env::split_paths);
    for path in readable
        .chain(libraries)
        .chain(program(&invocation.program))
    {
        rules = allow(rules, &path, read)?;
    }
    if let Some(url) = &invocation.connects {
        let port = NetPort::new(url.port(), AccessNet::ConnectTcp);
        rules = rules.add_rule(port)?;
    }
    let rules = allow(rules, Path::new("/dev/null"), everything)?;
    allow(rules, &invocation.dir, everything)
}

/// Adds a path to the rules; one that does not exist needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(descriptor) = PathFd::new(path) else {
        return Ok(rules);
    };
    let is_folder = std::fs::metadata(path).is_ok_and(|meta| meta.is_dir());
    let access = if is_folder {
        access
    } else {
        access & AccessFs::from_file(LANDLOCK)
    };
    rules.add_rule(PathBeneath::new(descriptor, access))
}

/// A program with the libraries that came with it: beside it, or in folders made for them. The rest
/// of its folder, which may be someone's home, is none of its business.
fn program(program: &Path) -> Vec<PathBuf> {
    let Ok(real) = std::fs::canonicalize(program) else {
        return Vec::new();
    };
    let folder = real.parent().unwrap_or(&real);
    let prefix = folder.parent().filter(|_| folder.ends_with("bin"));
    let libraries = [Some(folder), prefix].into_iter().flatten();
    let mut paths: Vec<PathBuf> = libraries
        .flat_map(|beside| LIBRARIES.map(|name| beside.join(name)))
        .collect();
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten();
    paths.extend(beside.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_library = name.starts_with("lib") && name.contains(".so");
        (is_library && entry.path().is_file()).then(|| entry.path())
    }));
    paths.push(real);
    paths
}
