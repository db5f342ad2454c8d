package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/syncer"
)

// answering is a server that answers List as told.
type answering struct {
	syncer.Remote
	mu    sync.Mutex
	err   error
	calls int
}

func (a *answering) List(context.Context, ferry.ListRequest) (ferry.Page, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	return ferry.Page{}, a.err
}

func (a *answering) answer(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *answering) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func transient(cause error) error {
	return &ferry.Error{Op: "test", Kind: ferry.KindTransient, Err: cause}
}

func TestOfflineIsSaidWhenNothingAnswers(t *testing.T) {
	lost, away := transient(errors.New("connection reset")), transient(ferry.ErrOffline)
	refused := &ferry.Error{Op: "test", Kind: ferry.KindDenied}
	tests := []struct {
		name    string
		answers []error
		offline bool
	}{
		{"all is well", []error{nil, nil}, false},
		{"one lost connection", []error{nil, lost}, false},
		{"three in a row", []error{lost, lost, lost}, true},
		{"three, but not in a row", []error{lost, lost, nil, lost}, false},
		{"cannot be reached", []error{away}, true},
		{"back again", []error{away, nil}, false},
		{"a refusal is an answer", []error{away, refused}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := &answering{}
			h := newHealthRemote(server, nil)
			for _, server.err = range tt.answers {
				if _, err := h.List(t.Context(), ferry.ListRequest{}); !errors.Is(err, server.err) {
					t.Errorf("List = %v; want %v as the server gave it", err, server.err)
				}
			}
			if offline, _, _ := h.state(); offline != tt.offline {
				t.Errorf("offline = %v; want %v", offline, tt.offline)
			}
		})
	}
}

// A caller that gives up says nothing of the server.
func TestGivingUpIsNotOffline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := newHealthRemote(&answering{err: transient(ferry.ErrOffline)}, nil)
	_, _ = h.List(ctx, ferry.ListRequest{})
	if offline, _, _ := h.state(); offline {
		t.Error("offline after a cancelled call")
	}
}

// The server's return is noticed though nobody reads or writes, and a server that
// answers is not asked for nothing.
func TestReturnIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &answering{err: transient(ferry.ErrOffline)}
		var changes []bool
		h := newHealthRemote(server, func(offline bool, _ error) { changes = append(changes, offline) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.watch(ctx) }()
		_, _ = h.List(ctx, ferry.ListRequest{})
		time.Sleep(time.Minute)
		server.answer(nil)
		time.Sleep(10 * time.Second)
		calls := server.asked()
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch = %v", err)
		}
		if !slices.Equal(changes, []bool{true, false}) {
			t.Errorf("told offline %v; want true, then false", changes)
		}
		if after := server.asked() - calls; after != 0 || calls < 20 || calls > 40 {
			t.Errorf("%d calls while the server was away, %d after; want one every two seconds, then none", calls, after)
		}
	})
}
