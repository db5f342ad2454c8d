package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ferry"
	"ferry/service/control"
)

// The exit codes are a contract with scripts: numbers are never reused.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitParked     = 3
	exitNoDaemon   = 4
	exitNotFound   = 5
	exitNoBucket   = 10
	exitDenied     = 11
	exitEndpoint   = 12
	exitNoFolder   = 13
	exitNotEmpty   = 14
	exitBusy       = 15
	exitOtherState = 16
	exitLocked     = 17
	exitNoSpace    = 18
	exitStateFS    = 19
	exitNoFUSE     = 20
	exitNotYet     = 124
	exitInterrupt  = 130
)

// exitCodes is the table that `ferry help` prints.
var exitCodes = []struct {
	code  int
	about string
}{
	{exitOK, "done; for wait and umount: everything is stored"},
	{exitFailed, "any other failure; the sentence says which"},
	{exitUsage, "the command line, or a FERRY_ variable, is not right"},
	{exitParked, "parked: something is not stored until a person acts"},
	{exitNoDaemon, "no daemon of ferry was found"},
	{exitNotFound, "there is no such file, upload or job"},
	{exitNoBucket, "mount: there is no such bucket"},
	{exitDenied, "mount: the server refuses these credentials, or there are none"},
	{exitEndpoint, "mount: nothing that speaks S3 answers at the endpoint"},
	{exitNoFolder, "mount: the mount point is not there, or is no folder"},
	{exitNotEmpty, "mount: the mount point is not empty"},
	{exitBusy, "mount: something is mounted there; umount: something uses it"},
	{exitOtherState, "mount: the state directory belongs to another bucket"},
	{exitLocked, "mount: the state directory, or the name, is in use by another daemon"},
	{exitNoSpace, "mount: no room for staging"},
	{exitStateFS, "mount: the state directory's file system is not one of ext4, xfs, btrfs"},
	{exitNoFUSE, "mount: this machine or user cannot mount"},
	{exitNotYet, "wait: not stored yet when the time was up"},
	{exitInterrupt, "interrupted"},
}

// exitError is an error with its exit code. told says that the person knows.
type exitError struct {
	code int
	err  error
	told bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// coded gives err an exit code.
func coded(code int, err error) error { return &exitError{code: code, err: err} }

// refuse is a sentence with its exit code and what the person can do.
func refuse(code int, hint, format string, args ...any) error {
	return coded(code, &ferry.Error{Op: "ferry", Kind: ferry.KindInvalid, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// usage is a fault of the command line.
func usage(format string, args ...any) error { return coded(exitUsage, fmt.Errorf(format, args...)) }

// exitCode finds the code for err.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if f, ok := errors.AsType[*control.Fault](err); ok {
		if f.Code == control.CodeParked {
			return exitParked
		}
		return kindCode(f.Kind())
	}
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		return exitNoDaemon
	case errors.Is(err, context.DeadlineExceeded):
		return exitNotYet
	case errors.Is(err, context.Canceled):
		return exitInterrupt
	}
	return kindCode(ferry.KindOf(err))
}

func kindCode(k ferry.Kind) int {
	switch k {
	case ferry.KindNotFound:
		return exitNotFound
	case ferry.KindDenied:
		return exitDenied
	case ferry.KindNoSpace:
		return exitNoSpace
	case ferry.KindBusy:
		return exitBusy
	default:
		return exitFailed
	}
}

// sentence is err for people: without the name of the function that failed.
func sentence(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		err = e.err // without the name of the unit that it came through
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var texts []string
		for _, e := range many.Unwrap() {
			texts = append(texts, sentence(e))
		}
		return strings.Join(texts, " ")
	}
	e, ok := err.(*ferry.Error) //nolint:errorlint // what wraps it would be lost
	if !ok {
		return err.Error()
	}
	var b strings.Builder
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	switch {
	case e.Msg == "" && e.Err == nil:
		b.WriteString(e.Kind.String())
	case e.Msg == "":
		b.WriteString(sentence(e.Err))
	default:
		b.WriteString(e.Msg)
		if e.Err != nil && !errors.Is(e.Err, control.ErrNoDaemon) {
			b.WriteString(": " + sentence(e.Err))
		}
	}
	// errors.Join puts its errors on lines of their own.
	text := strings.TrimRight(strings.ReplaceAll(b.String(), "\n", ": "), ".")
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text + "."
}
