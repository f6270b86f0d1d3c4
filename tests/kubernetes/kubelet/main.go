// What a kubelet would say of the output of pods that never ran: their names, and how it was asked.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}
}

// Whether somebody said that the pod has more to say.
func goesOn(pod string) bool {
	_, err := os.Stat(filepath.Join(os.Args[2], pod+".goes-on"))
	return err == nil
}

// Waits until somebody says that the pod has ended; false when nobody listens any more.
func ended(r *http.Request, pod string) bool {
	for {
		if _, err := os.Stat(filepath.Join(os.Args[2], pod)); err == nil {
			return true
		}
		select {
		case <-r.Context().Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func main() {
	// /containerLogs/NAMESPACE/POD/CONTAINER
	http.HandleFunc("/containerLogs/", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/containerLogs/"), "/")
		lines := []string{"2026-11-23T01:30:00Z first of " + parts[1], "2026-11-23T01:30:01Z last of " + parts[1]}
		if r.URL.Query().Get("tailLines") == "1" {
			lines = lines[1:]
		}
		follow := r.URL.Query().Get("follow") == "true"
		for at, line := range lines {
			if at == len(lines)-1 && goesOn(parts[1]) {
				w.(http.Flusher).Flush()
				if !follow || !ended(r, parts[1]) {
					return
				}
			}
			if r.URL.Query().Get("timestamps") != "true" {
				_, line, _ = strings.Cut(line, " ")
			}
			fmt.Fprintln(w, line)
		}
	})
	server := &http.Server{Addr: os.Args[1], TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate()}}}
	log.Fatal(server.ListenAndServeTLS("", ""))
}
