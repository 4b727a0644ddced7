package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pingcap/log"
	"github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/rawkv"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A store through its official client.
type store interface {
	put(ctx context.Context, key, value []byte) error
	get(ctx context.Context, key []byte) error
	close()
}

var errMissing = errors.New("a key that was written has no value")

// connect waits until the store serves a write.
func connect(name string, endpoints []string, within time.Duration) (store, error) {
	deadline := time.Now().Add(within)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		store, err := open(ctx, name, endpoints)
		if err == nil {
			err = store.put(ctx, []byte("probe"), []byte("written"))
		}
		cancel()
		if err == nil || time.Now().After(deadline) {
			return store, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func open(ctx context.Context, name string, endpoints []string) (store, error) {
	switch name {
	case "tikv":
		// It asks for the level before it tries anything again.
		level := zap.NewAtomicLevelAt(zap.FatalLevel)
		log.ReplaceGlobals(zap.NewNop(), &log.ZapProperties{Level: level})
		// One connection to each server, as etcd's client has.
		config.UpdateGlobal(func(c *config.Config) { c.TiKVClient.GrpcConnectionCount = 1 })
		client, err := rawkv.NewClient(ctx, endpoints, config.Security{})
		return tikv{client}, err
	case "etcd":
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
		if err != nil {
			return nil, err
		}
		leader, err := leader(ctx, client, endpoints)
		// To the leader alone, so that no member forwards to another.
		client.SetEndpoints(leader)
		return etcd{client}, err
	default:
		return nil, fmt.Errorf("no store %q: tikv or etcd", name)
	}
}

func leader(ctx context.Context, client *clientv3.Client, endpoints []string) (string, error) {
	for _, endpoint := range endpoints {
		status, err := client.Status(ctx, endpoint)
		if err == nil && status.Leader == status.Header.MemberId {
			return endpoint, nil
		}
	}
	return endpoints[0], errors.New("no member says that it leads")
}

type tikv struct{ client *rawkv.Client }

func (t tikv) put(ctx context.Context, key, value []byte) error { return t.client.Put(ctx, key, value) }

func (t tikv) get(ctx context.Context, key []byte) error {
	value, err := t.client.Get(ctx, key)
	if err == nil && value == nil {
		return errMissing
	}
	return err
}

func (t tikv) close() { t.client.Close() }

type etcd struct{ client *clientv3.Client }

func (e etcd) put(ctx context.Context, key, value []byte) error {
	_, err := e.client.Put(ctx, string(key), string(value))
	return err
}

func (e etcd) get(ctx context.Context, key []byte) error {
	response, err := e.client.Get(ctx, string(key))
	if err == nil && len(response.Kvs) == 0 {
		return errMissing
	}
	return err
}

func (e etcd) close() { e.client.Close() }
