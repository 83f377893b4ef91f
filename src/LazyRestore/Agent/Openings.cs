using PostCopy.Transport;

namespace PostCopy.Agent;

/// <summary>
/// The connections whose peers have not proved anything yet. There are only so many; a further one takes the place of the one that has been at it longest.
/// Whoever belongs here is done in a moment, so it is those who stall that are dropped, and a crowd of them does not keep anybody out.
/// </summary>
internal sealed class Openings(int most)
{
    private readonly Lock _lock = new();
    private readonly LinkedList<SocketLane> _lanes = new();

    internal LinkedListNode<SocketLane> Enter(SocketLane lane)
    {
        lock (_lock)
        {
            if (_lanes.Count >= most)
            {
                // Its thread meets the end of the connection and leaves.
                _lanes.First!.Value.Abort();
                _lanes.RemoveFirst();
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
}
