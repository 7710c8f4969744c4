//! Subcommands for installing a program: shell completions and manual pages, generated from its definition.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Command, Subcommand};
use clap_complete::Shell;

use impasto_error::{Result, ResultExt};

/// The subcommands that every program has.
#[derive(Debug, Subcommand)]
pub enum SetupCommand {
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },

    /// Write the manual pages into a folder
    Man {
        /// Folder for the pages, one for the program and one for each of its commands; created if needed
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

impl SetupCommand {
    /// Runs the subcommand for the program that `program` defines. A script is written to `output`, which is standard
    /// output. A reader that closes the pipe is not an error.
    ///
    /// # Errors
    ///
    /// If the script or a page cannot be written.
    pub fn run(self, program: Command, output: &mut impl Write) -> Result<()> {
        match self {
            Self::Completions { shell } => match output.write_all(&completions(program, shell)) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                written => written.context(|| "cannot write to standard output"),
            },
            Self::Man { folder } => write_manual(program, &folder),
        }
    }
}

fn completions(mut program: Command, shell: Shell) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}

fn write_manual(program: Command, folder: &Path) -> Result<()> {
    // The pages must be the same on every machine, so the version has no commit and no instruction set.
    let program = program.version(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(program, folder))
        .context(|| format!("cannot write manual pages into `{}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let paint = Command::new("paint").about("Paint a wall").arg(clap::arg!(--color <NAME> "Its colour"));
        SetupCommand::augment_subcommands(Command::new("painter").version("9 (commit)").subcommand(paint))
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let mut script = Vec::new();
            SetupCommand::Completions { shell }.run(program(), &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for word in ["painter", "paint", "color", "completions", "man"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn every_command_gets_a_manual_page() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("share/man1");
        SetupCommand::Man { folder: folder.clone() }.run(program(), &mut Vec::new()).unwrap();
        let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert!(page("painter.1").contains("painter\\-paint(1)") && !page("painter.1").contains("commit"));
        assert!(page("painter-paint.1").contains("Its colour"));
        assert!(page("painter-completions.1").contains("shell") && page("painter-man.1").contains("Folder"));
    }
}
