package main

import (
	"fmt"
	"math/rand"
	"sort"
	"syscall"
	"time"
)

// A source of keys and values for one client. Each client has its own sequence, the same in every run.
type source struct {
	random *rand.Rand
	o      options
}

func newSource(o options, client int) *source {
	return &source{random: rand.New(rand.NewSource(int64(client))), o: o}
}

func (s *source) key() []byte { return s.keyOf(s.random.Intn(s.o.keys)) }

func (s *source) keyOf(number int) []byte {
	return []byte(fmt.Sprintf("%0*d", s.o.keySize, number))
}

// value gives new random bytes, which no store can compress.
func (s *source) value() []byte {
	value := make([]byte, s.o.valueSize)
	s.random.Read(value)
	return value
}

// What one client saw.
type record struct {
	latencies []time.Duration
	errors    []error
}

func (r *record) add(latency time.Duration, err error) {
	if err != nil {
		r.errors = append(r.errors, err)
		return
	}
	r.latencies = append(r.latencies, latency)
}

type latency struct {
	MeanUs float64 `json:"mean_us"`
	P50Us  int64   `json:"p50_us"`
	P99Us  int64   `json:"p99_us"`
	P999Us int64   `json:"p999_us"`
	MaxUs  int64   `json:"max_us"`
}

type report struct {
	Count        int      `json:"count"`
	Errors       int      `json:"errors"`
	ErrorSamples []string `json:"error_samples"`
	ElapsedS     float64  `json:"elapsed_s"`
	ClientCPUS   float64  `json:"client_cpu_s"`
	Latency      latency  `json:"latency"`
}

func summarise(records []record, elapsed, cpu time.Duration) report {
	result := report{ElapsedS: elapsed.Seconds(), ClientCPUS: cpu.Seconds(), ErrorSamples: []string{}}
	var all []time.Duration
	var sum time.Duration
	for _, record := range records {
		all = append(all, record.latencies...)
		result.Errors += len(record.errors)
		if len(record.errors) > 0 && len(result.ErrorSamples) < 5 {
			result.ErrorSamples = append(result.ErrorSamples, record.errors[0].Error())
		}
	}
	result.Count = len(all)
	if len(all) == 0 {
		return result
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	for _, one := range all {
		sum += one
	}
	at := func(thousandths int) int64 { return all[(len(all)-1)*thousandths/1000].Microseconds() }
	result.Latency = latency{
		MeanUs: float64(sum.Microseconds()) / float64(len(all)),
		P50Us:  at(500),
		P99Us:  at(990),
		P999Us: at(999),
		MaxUs:  at(1000),
	}
	return result
}

// ownCPU is the processor time of this process, user and system.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
