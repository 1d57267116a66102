//! The four ports of each node of a cluster on this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::Failure;

/// More nodes than this would share ports: the any ports begin a hundred above the cluster ports.
pub(super) const NODES_MAX: i64 = 100;

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) cluster: u16,
    pub(super) any: u16,
    pub(super) peer: u16,
    pub(super) admin: u16,
}

impl Ports {
    /// Those of nodes 1 to `nodes`, the first one's cluster port being `first`; with 0, ports that
    /// are free now.
    pub(super) fn of_nodes(nodes: u16, first: u16) -> Result<Vec<Ports>, Failure> {
        if first == 0 {
            return pick(nodes);
        }
        let highest = u32::from(first) + 9_999 + u32::from(nodes);
        if highest > u32::from(u16::MAX) {
            let most = u32::from(u16::MAX) - 9_999 - u32::from(nodes);
            return Err(Failure::Usage(format!(
                "--port {first}: the nodes' ports would go up to {highest}; \
                 with --nodes {nodes} it can be {most} at most"
            )));
        }
        let ports: Vec<Ports> = (1..=nodes)
            .map(|node| Ports {
                cluster: first - 1 + node,
                any: first + 99 + node,
                peer: first + 9_999 + node,
                admin: first + 2_099 + node,
            })
            .collect();
        check_free(&ports)?;
        Ok(ports)
    }

    fn named(self) -> [(&'static str, u16); 4] {
        [
            ("cluster port", self.cluster),
            ("any port", self.any),
            ("peer port", self.peer),
            ("admin port", self.admin),
        ]
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn check_free(ports: &[Ports]) -> Result<(), Failure> {
    let mut taken = Vec::new();
    for (node, ports) in (1..).zip(ports) {
        for (name, port) in ports.named() {
            if let Err(error) = listen(port) {
                taken.push(format!("  {port} ({name} of node {node}): {error}"));
            }
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Failure::Run(format!(
        "ports that the nodes need cannot be had; another --port gives others\n{}",
        taken.join("\n")
    )))
}

/// Listens on all of them at once, so that they differ.
fn pick(nodes: u16) -> Result<Vec<Ports>, Failure> {
    let failed = |error| Failure::Run(format!("no free ports: {error}"));
    let mut held = Vec::new();
    let mut next = || -> Result<u16, Failure> {
        let listener = listen(0).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        held.push(listener);
        Ok(port)
    };
    (0..nodes)
        .map(|_| {
            Ok(Ports {
                cluster: next()?,
                any: next()?,
                peer: next()?,
                admin: next()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let holder = listen(0).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let ports = Ports {
            cluster: 1,
            any: taken,
            peer: 3,
            admin: 4,
        };
        let Err(Failure::Run(message)) = check_free(&[ports]) else {
            panic!("it is taken")
        };
        assert!(
            message.contains(&format!("{taken} (any port of node 1)")),
            "{message}"
        );
    }

    #[test]
    fn ports_end_where_numbers_end() {
        assert!(matches!(Ports::of_nodes(3, 60_000), Err(Failure::Usage(_))));
    }

    #[test]
    fn picked_ports_differ() {
        let Ok(ports) = Ports::of_nodes(3, 0) else {
            panic!("there are free ports")
        };
        let mut all: Vec<u16> = ports
            .iter()
            .flat_map(|ports| ports.named().map(|(_, port)| port))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12);
    }
}
