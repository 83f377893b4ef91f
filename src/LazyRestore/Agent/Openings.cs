using System.Net;
using System.Net.Sockets;
using PostCopy.Transport;

namespace PostCopy.Agent;

/// <summary>
/// The connections whose peers have not proved anything yet. There are only so many; a further one takes the place of one of whoever has most of them, of the one
/// that has been at it longest. Whoever belongs here is done in a moment, so it is those who stall that are dropped, and neither a crowd of them nor one who
/// connects all the time keeps anybody else out.
/// </summary>
internal sealed class Openings(int most)
{
    /// <summary>What one network of IPv6 has: whoever has one address of it has all.</summary>
    private const int NetworkBytes = 8;

    private readonly Lock _lock = new();
    private readonly LinkedList<SocketLane> _lanes = new();

    internal LinkedListNode<SocketLane> Enter(SocketLane lane)
    {
        lock (_lock)
        {
            if (_lanes.Count >= most)
            {
                // In the order of entering: of several that have as many, it is the one who was first.
                SocketLane oldest = _lanes.GroupBy(static lane => Origin(lane.PeerAddress)).MaxBy(static lanes => lanes.Count())!.First();
                // Its thread meets the end of the connection and leaves.
                oldest.Abort();
                _lanes.Remove(oldest);
            }

            return _lanes.AddLast(lane);
        }
    }

    /// <summary>From here on the lane is not dropped any more. Comes before the lane is disposed of or given to a session.</summary>
    internal void Leave(LinkedListNode<SocketLane> place)
    {
        lock (_lock)
        {
            place.List?.Remove(place);
        }
    }

    private static string Origin(IPAddress? address) => address switch
    {
        null => "",
        { AddressFamily: AddressFamily.InterNetworkV6, IsIPv4MappedToIPv6: false } => Convert.ToHexString(address.GetAddressBytes().AsSpan(0, NetworkBytes)),
        _ => address.MapToIPv4().ToString(),
    };
}
