// Command load puts one kind of operation on a store through the official Go client of it, and says how
// that went.
//
// It is the client's side of `make bench`: the same load on Kontiki through TiKV's client and on etcd
// through etcd's. The caller measures the servers, and learns from the output when to: a line "measuring"
// when the warm-up is over, then the report as one line of JSON.
//
// Not here: servers, tables, ratios (crate bench).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

type options struct {
	store     string
	endpoints []string
	operation string
	clients   int
	keys      int
	keySize   int
	valueSize int
	warmUp    time.Duration
	duration  time.Duration
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	var endpoints string
	flag.StringVar(&o.store, "store", "tikv", "whose client to use: tikv or etcd")
	flag.StringVar(&endpoints, "endpoints", "127.0.0.1:2379", "where the store is, with commas")
	flag.StringVar(&o.operation, "operation", "put", "put or get")
	flag.IntVar(&o.clients, "clients", 256, "goroutines that each wait for one operation at a time")
	flag.IntVar(&o.keys, "keys", 100_000, "number of different keys")
	flag.IntVar(&o.keySize, "key-size", 16, "bytes of a key")
	flag.IntVar(&o.valueSize, "value-size", 128, "bytes of a value")
	flag.DurationVar(&o.warmUp, "warm-up", 3*time.Second, "load before the measurement")
	flag.DurationVar(&o.duration, "duration", 15*time.Second, "how long to measure")
	flag.Parse()
	o.endpoints = strings.Split(endpoints, ",")
	return o
}

func run(o options) error {
	if o.clients < 1 || o.keys < 1 || len(fmt.Sprint(o.keys-1)) > o.keySize {
		return errors.New("there must be a client, a key, and room in a key for the number of each")
	}
	store, err := connect(o.store, o.endpoints, time.Minute)
	if err != nil {
		return err
	}
	defer store.close()
	var operate func(context.Context, *source) error
	switch o.operation {
	case "put":
		operate = func(ctx context.Context, s *source) error { return store.put(ctx, s.key(), s.value()) }
	case "get":
		operate = func(ctx context.Context, s *source) error { return store.get(ctx, s.key()) }
		if err := fill(store, o); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no operation %q: put or get", o.operation)
	}
	return json.NewEncoder(os.Stdout).Encode(measure(o, operate))
}

// fill puts every key once, so that each get finds a value.
func fill(store store, o options) error {
	return together(o.clients, func(client int) error {
		s := newSource(o, client)
		for number := client; number < o.keys; number += o.clients {
			if err := store.put(context.Background(), s.keyOf(number), s.value()); err != nil {
				return err
			}
		}
		return nil
	})
}

func measure(o options, operate func(context.Context, *source) error) report {
	records := make([]record, o.clients)
	begin := time.Now().Add(o.warmUp)
	end := begin.Add(o.duration)
	var before time.Duration
	announced := time.AfterFunc(o.warmUp, func() {
		before = ownCPU()
		fmt.Println("measuring")
	})
	defer announced.Stop()
	_ = together(o.clients, func(client int) error {
		s := newSource(o, client)
		for {
			started := time.Now()
			if started.After(end) {
				return nil
			}
			err := operate(context.Background(), s)
			if started.After(begin) {
				records[client].add(time.Since(started), err)
			}
		}
	})
	return summarise(records, time.Since(begin), ownCPU()-before)
}

// together runs work once for each client and gives the first error.
func together(clients int, work func(client int) error) error {
	var wait sync.WaitGroup
	failed := make(chan error, clients)
	for client := 0; client < clients; client++ {
		wait.Add(1)
		go func(client int) {
			defer wait.Done()
			if err := work(client); err != nil {
				failed <- err
			}
		}(client)
	}
	wait.Wait()
	close(failed)
	return <-failed
}
