//! The echo server is a store as far as the official client can tell.

use bench::{echo, tikv};
use bytes::Bytes;
use std::time::Duration;
use workload::{Mix, Operation, Spec, Stop, Target};

#[tokio::test]
async fn the_official_client_reads_what_it_wrote_and_misses_what_it_did_not() {
    let address = format!("127.0.0.1:{}", e2e::free_ports(1).unwrap()[0]);
    let server = tokio::spawn(echo::serve(address.parse().unwrap()));
    let client = tikv::connect("echo", &[address], Duration::from_secs(30))
        .await
        .unwrap();
    let (key, missing) = (Bytes::from_static(b"key"), Bytes::from_static(b"other"));
    client
        .put(key.clone(), Bytes::from_static(b"value"))
        .await
        .unwrap();
    assert!(client.get(key).await.unwrap());
    assert!(!client.get(missing).await.unwrap());
    server.abort();
}

#[tokio::test]
async fn a_measurement_counts_every_operation_and_the_processor_time_of_both_sides() {
    let address = format!("127.0.0.1:{}", e2e::free_ports(1).unwrap()[0]);
    let server = tokio::spawn(echo::serve(address.parse().unwrap()));
    let client = tikv::connect("echo", &[address], Duration::from_secs(30))
        .await
        .unwrap();
    let spec = Spec {
        mix: Mix::GET,
        clients: 8,
        keys: 50,
        stop: Stop::Count(400),
        warm_up: Duration::ZERO,
        preload: true,
        ..Spec::default()
    };
    // A server that would use one second of processor time, on whichever sample.
    let samples = std::cell::Cell::new(0);
    let server_cpu = || {
        samples.set(samples.get() + 1);
        Ok(Duration::from_secs(samples.get()))
    };
    let clients = [client];
    let measured = bench::measure::measure("echo", Operation::Get, &spec, &clients, server_cpu);
    let measured = measured.await.unwrap();
    assert_eq!(
        (measured.count, measured.found, measured.errors),
        (400, 400, 0)
    );
    assert_eq!(measured.server_cpu_us, 1e6 / 400.0);
    server.abort();
}
