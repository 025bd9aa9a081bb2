//! Names of the proxy's targets, resolved to addresses at start and every minute: their servers where
//! the DNS lists some (SRV, RFC 3263 §4.2), and their own.

use std::{collections::BTreeMap, mem, net::IpAddr, time::Duration};

use tandem_proxy::located::Server;
use tokio::{
    net::lookup_host,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    dns::Dns,
    shard::{Gone, Handle, Input},
};

/// Between two rounds. The resolver of the system tells no time to live; carriers that move an
/// address keep the old one alive for minutes.
const ROUND: Duration = Duration::from_secs(60);

/// For one name: the system's resolver tries its servers several times within this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Resolved names and what they were last.
#[derive(Debug)]
pub struct Resolver {
    hosts: BTreeMap<String, Option<Vec<IpAddr>>>,
    services: BTreeMap<String, Option<Vec<Server>>>,
    dns: Dns,
    handle: Handle,
}

impl Resolver {
    /// For these names (addresses among them stand for themselves) and these SRV names.
    pub fn new((hosts, services): (Vec<String>, Vec<String>), dns: Dns, handle: Handle) -> Self {
        Self {
            hosts: hosts.into_iter().map(|host| (host, None)).collect(),
            services: services.into_iter().map(|service| (service, None)).collect(),
            dns,
            handle,
        }
    }

    /// Resolves every name once. A name that cannot be resolved keeps its last addresses.
    pub async fn round(&mut self) -> Result<(), Gone> {
        self.locate().await?;
        for (host, last) in &mut self.hosts {
            match look_up(host).await {
                Ok(addresses) if last.as_ref() != Some(&addresses) => {
                    tracing::debug!(host, ?addresses, "resolved");
                    *last = Some(addresses.clone());
                    self.handle.send(Input::Resolved { host: host.clone(), addresses }).await?;
                }
                Ok(_) => {}
                Err(error) if is_served(&self.services, host) => {
                    tracing::debug!(host, error, "name has servers and no addresses");
                }
                Err(error) => tracing::warn!(host, error, "name cannot be resolved"),
            }
        }
        Ok(())
    }

    async fn locate(&mut self) -> Result<(), Gone> {
        for (service, last) in &mut self.services {
            let found = timeout(PATIENCE, self.dns.services(service)).await;
            let records = match found {
                Ok(Ok(records)) => records,
                Ok(Err(error)) => {
                    tracing::debug!(service, error, "servers cannot be looked up");
                    continue;
                }
                Err(_) => continue,
            };
            let mut servers = Vec::new();
            for record in records {
                // A server without an address stays: its name's own addresses are not asked instead.
                let addresses = look_up(&record.target).await.unwrap_or_default();
                let (priority, weight, port) = (record.priority, record.weight, record.port);
                servers.push(Server { priority, weight, port, addresses });
            }
            if last.as_ref().map_or(!servers.is_empty(), |last| *last != servers) {
                tracing::debug!(service, ?servers, "located");
                *last = Some(servers.clone());
                self.handle.send(Input::Located { service: service.clone(), servers }).await?;
            }
        }
        Ok(())
    }

    /// Keeps the names fresh until the loop ends, from each order on those that it names.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let order = timeout(ROUND, orders.recv()).await;
            let done = match order {
                Ok(Some(Order { hosts, services, done })) => {
                    self.rename(hosts, services);
                    Some(done)
                }
                Ok(None) => return,
                Err(_) => None,
            };
            if self.round().await.is_err() {
                return;
            }
            // Whoever gave the order may be gone.
            done.map(|done| done.send(()));
        }
    }

    /// Other names; those that stay are known already.
    fn rename(&mut self, hosts: Vec<String>, services: Vec<String>) {
        let (mut old, mut before) = (mem::take(&mut self.hosts), mem::take(&mut self.services));
        self.hosts = hosts
            .into_iter()
            .map(|name| {
                let known = old.remove(&name).flatten();
                (name, known)
            })
            .collect();
        self.services = services
            .into_iter()
            .map(|name| {
                let known = before.remove(&name).flatten();
                (name, known)
            })
            .collect();
    }
}

/// Names to keep fresh from now on.
#[derive(Debug)]
pub struct Order {
    /// Hosts.
    pub hosts: Vec<String>,
    /// SRV names.
    pub services: Vec<String>,
    /// Told when they have been looked up once.
    pub done: oneshot::Sender<()>,
}

fn is_served(services: &BTreeMap<String, Option<Vec<Server>>>, host: &str) -> bool {
    let mut of_host = services.iter().filter(|(service, _)| {
        service.strip_suffix(host).is_some_and(|prefix| prefix.ends_with('.'))
    });
    of_host.any(|(_, servers)| servers.as_ref().is_some_and(|servers| !servers.is_empty()))
}

async fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    match timeout(PATIENCE, lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.sort();
            addresses.dedup();
            Ok(addresses)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within 5 s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_names_are_looked_up_when_they_are_ordered() {
        let (handle, mut queue) = Handle::new();
        let names = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        let first: Vec<String> = names(&["192.0.2.1", "192.0.2.2"]);
        let mut resolver = Resolver::new((first, Vec::new()), Dns::new(Vec::new()), handle);
        resolver.round().await.unwrap();
        let (orders, ordered) = mpsc::channel(1);
        let running = tokio::spawn(resolver.run(ordered));
        let (done, looked_up) = oneshot::channel();
        let order = Order { hosts: names(&["192.0.2.2", "192.0.2.3"]), services: Vec::new(), done };
        orders.send(order).await.unwrap();
        looked_up.await.unwrap();
        drop(orders);
        running.await.unwrap();
        let mut told = Vec::new();
        while let Some(Input::Resolved { host, .. }) = queue.recv().await {
            told.push(host);
        }
        assert_eq!(
            told,
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
            "what was known is not told again"
        );
    }

    #[tokio::test]
    async fn names_and_addresses_reach_the_loop_once() {
        let (handle, mut queue) = Handle::new();
        let hosts = vec!["localhost".to_owned(), "192.0.2.1".to_owned(), "::1".to_owned()];
        let mut resolver = Resolver::new((hosts, Vec::new()), Dns::new(Vec::new()), handle);
        resolver.round().await.unwrap();
        resolver.round().await.unwrap();
        drop(resolver);
        let mut found = BTreeMap::new();
        while let Some(Input::Resolved { host, addresses }) = queue.recv().await {
            assert!(found.insert(host, addresses).is_none(), "told again though nothing changed");
        }
        assert_eq!(found["192.0.2.1"], ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(found["localhost"].iter().all(IpAddr::is_loopback));
        assert_eq!(found.len(), 3);
    }
}
