//! The rank of this process and the number of processes, from the environment variables of torchrun, Slurm's `srun` and `mpirun`.

use impasto_common::{Error, Result};

use super::Share;

/// The default address of the first process; `MASTER_ADDR` and `MASTER_PORT` override it.
const ADDRESS: (&str, u16) = ("127.0.0.1", 29_500);

/// The variables of each launcher: rank, world size, local rank.
const LAUNCHERS: [(&str, [&str; 3]); 4] = [
    ("torchrun", ["RANK", "WORLD_SIZE", "LOCAL_RANK"]),
    ("mpirun", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"]),
    ("mpiexec", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"]),
    // Slurm's variables of the job step, not of the allocation: a process that a batch script starts without `srun` has no step.
    ("srun", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"]),
];

/// The rank of this process, and the address for connecting to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The rank, from 0.
    pub index: usize,
    /// The number of processes (world size).
    pub count: usize,
    /// The local rank on this machine, which is the number of its GPU.
    pub local: usize,
    /// The address at which the first process listens.
    pub address: (String, u16),
}

impl Seat {
    /// A single process.
    pub const ALONE: Self = Self { index: 0, count: 1, local: 0, address: (String::new(), 0) };

    /// The seat given by the environment variables; [`Self::ALONE`] if no launcher started this process.
    ///
    /// # Errors
    ///
    /// If a variable is not valid.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        for (launcher, [index, count, local]) in LAUNCHERS {
            let (Some(index_text), Some(count_text)) = (variable(index), variable(count)) else { continue };
            let (index_found, count_found) = (number(index, &index_text)?, number(count, &count_text)?);
            if index_found >= count_found {
                let message = format!("`{index}={index_text}` is not below `{count}={count_text}`");
                return Err(Error::usage(message)
                    .with_hint(format!("start this program with {launcher}, or unset both variables")));
            }
            if count_found == 1 {
                return Ok(Self::ALONE);
            }
            let local = variable(local).map_or(Ok(index_found), |text| number(local, &text))?;
            let host = variable("MASTER_ADDR").unwrap_or_else(|| ADDRESS.0.into());
            let port =
                variable("MASTER_PORT").map_or(Ok(usize::from(ADDRESS.1)), |text| number("MASTER_PORT", &text))?;
            // torchrun itself listens on this port, so we use the next one.
            let port = u16::try_from(port + 1)
                .map_err(|_| Error::usage(format!("`MASTER_PORT={port}` is not a valid port")))?;
            return Ok(Self { index: index_found, count: count_found, local, address: (host, port) });
        }
        Ok(Self::ALONE)
    }

    /// The portion of every batch that this process trains on.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { index: self.index, count: self.count }
    }

    /// Whether this process writes the files.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.index == 0
    }

    /// Checks that a batch can be split into equal shares.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn check_batch(&self, batch: usize) -> Result<()> {
        if batch.is_multiple_of(self.count) {
            return Ok(());
        }
        let message = format!("`--batch {batch}` cannot be split equally between {} processes", self.count);
        let next = batch.next_multiple_of(self.count);
        Err(Error::usage(message).with_hint(format!("use a multiple of {}, such as {next}", self.count)))
    }

    /// Seats for `count` processes on this machine.
    #[cfg(test)]
    pub(crate) fn local(count: usize) -> Vec<Self> {
        let free = std::net::TcpListener::bind((ADDRESS.0, 0)).and_then(|listener| listener.local_addr());
        let address = (ADDRESS.0.to_owned(), free.map_or(ADDRESS.1, |address| address.port()));
        (0..count).map(|index| Self { index, count, local: index, address: address.clone() }).collect()
    }
}

fn number(name: &str, text: &str) -> Result<usize> {
    text.trim().parse().map_err(|_| Error::usage(format!("`{name}={text}` is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<Seat> {
        Seat::find(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn every_launcher_is_understood() {
        let seat = |local, host: &str, port| Seat { index: 5, count: 8, local, address: (host.into(), port) };
        let torchrun =
            [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "1")];
        assert_eq!(find(&torchrun).unwrap(), seat(1, "a", 2));
        let srun =
            [("SLURM_PROCID", "5"), ("SLURM_STEP_NUM_TASKS", "8"), ("SLURM_LOCALID", "2"), ("SLURM_NTASKS", "9")];
        assert_eq!(find(&srun).unwrap(), seat(2, "127.0.0.1", 29_501));
        let mpirun =
            [("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "8"), ("OMPI_COMM_WORLD_LOCAL_RANK", "3")];
        assert_eq!(find(&mpirun).unwrap(), seat(3, "127.0.0.1", 29_501));
        assert_eq!(find(&[("PMI_RANK", "5"), ("PMI_SIZE", "8")]).unwrap(), seat(5, "127.0.0.1", 29_501));
    }

    #[test]
    fn without_a_launcher_or_with_one_process_there_are_no_peers() {
        assert_eq!(find(&[]).unwrap(), Seat::ALONE);
        assert_eq!(find(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), Seat::ALONE);
        // A process started directly by a batch script, and variables that other programs set.
        assert_eq!(find(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]).unwrap(), Seat::ALONE);
        assert_eq!(find(&[("RANK", "3")]).unwrap(), Seat::ALONE);
    }

    #[test]
    fn invalid_values_are_named() {
        let text = |variables: &[(&str, &str)]| find(variables).unwrap_err().to_string();
        assert_eq!(text(&[("RANK", "x"), ("WORLD_SIZE", "2")]), "`RANK=x` is not a number");
        assert_eq!(text(&[("RANK", "2"), ("WORLD_SIZE", "2")]), "`RANK=2` is not below `WORLD_SIZE=2`");
        let port = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "65535")];
        assert_eq!(text(&port), "`MASTER_PORT=65535` is not a valid port");
    }

    #[test]
    fn a_batch_that_cannot_be_split_equally_is_refused_with_the_next_that_can() {
        let seat = Seat { count: 3, ..Seat::ALONE };
        seat.check_batch(6).unwrap();
        let error = seat.check_batch(4).unwrap_err();
        assert_eq!(error.to_string(), "`--batch 4` cannot be split equally between 3 processes");
        assert_eq!(error.hint(), Some("use a multiple of 3, such as 6"));
    }
}
