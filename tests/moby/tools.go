//go:build tools

// Package moby names the programs of a current Docker engine, so that go.mod knows what they are
// built from. build.sh builds them.
package moby

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/moby/moby/v2/cmd/dockerd"
	_ "github.com/opencontainers/runc"
)
