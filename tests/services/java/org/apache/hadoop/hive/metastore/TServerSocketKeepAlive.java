// Takes the place of the class of this name in Hive 3.1.3, whose metastore can only listen on every address of the
// machine (a setting came with 4.0): the same server socket, on 127.0.0.1.
package org.apache.hadoop.hive.metastore;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketException;
import org.apache.thrift.transport.TServerSocket;
import org.apache.thrift.transport.TSocket;
import org.apache.thrift.transport.TTransportException;

public class TServerSocketKeepAlive extends TServerSocket {
  public TServerSocketKeepAlive(TServerSocket everywhere) throws TTransportException {
    super(loopback(everywhere));
  }

  private static InetSocketAddress loopback(TServerSocket everywhere) {
    int port = everywhere.getServerSocket().getLocalPort();
    everywhere.close();
    return new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
  }

  @Override
  protected TSocket acceptImpl() throws TTransportException {
    TSocket socket = super.acceptImpl();
    try {
      socket.getSocket().setKeepAlive(true);
    } catch (SocketException e) {
      throw new TTransportException(e);
    }
    return socket;
  }
}
