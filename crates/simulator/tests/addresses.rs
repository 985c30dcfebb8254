//! A service with several addresses, of which some lead nowhere: each attempt is for the next one. R-DATA-INTACT.

mod support;

use device::Note;
use protocol::Failure;
use simulator::port::Report;
use simulator::port::stopper;
use std::net::{IpAddr, SocketAddr};
use support::server::Server;
use support::{Authority, PATIENCE, configuration, honest_time, port, provisioned};
use tokio::net::TcpListener;

#[tokio::test]
async fn an_address_where_nobody_listens_and_one_that_is_silent_are_got_past_and_named() {
    let authority = Authority::new("ours");
    // Nobody listens at the first, and the second takes connections and says nothing.
    let [refusing, silent, good]: [IpAddr; 3] =
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|text| text.parse().unwrap());
    let held = TcpListener::bind(SocketAddr::new(silent, 0)).await.unwrap();
    let tcp = held.local_addr().unwrap().port();
    let at = SocketAddr::new(good, tcp);
    let _server = Server::start_at(at, &authority.server(&["localhost"]), None).await;
    let time = honest_time().await;
    let configuration = configuration("dev-1", "localhost", tcp, &[time.address()]);
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let (mut port, mut reports) = port();
    // The order in which they are found does not matter.
    port.known = vec![good, refusing, silent];
    port.info.policy.connect_timeout_ms = 2_000;
    let (stop, stopped) = stopper();
    let running = tokio::spawn(async move { port.run(&mut machine, stopped).await.unwrap() });
    let (mut failed, mut lines) = (Vec::new(), Vec::new());
    loop {
        let report = tokio::time::timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
        lines.push(report.to_string());
        match report {
            Report::NotReached { address, failure } => failed.push((address, failure)),
            Report::Note { note: Note::Connected { .. }, .. } => break,
            _ => {}
        }
    }
    stop.stop();
    running.await.unwrap();
    let on = |ip| SocketAddr::new(ip, tcp);
    assert_eq!(failed, [(on(refusing), Failure::Refused), (on(silent), Failure::ConnectTimeout)]);
    let words =
        format!("no connection at 127.0.0.2:{tcp}: the service did not answer in time (connect_timeout)");
    assert!(lines.contains(&words), "{lines:#?}");
}
